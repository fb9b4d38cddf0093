"""Cost of a pre-training step in parameters and multiply-adds, and the peak rates of GPUs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from repre_mm.datasets import view_sizes
from repre_mm.models.build import build_model

#: Words of a device's name -> peak of its data sheet: dense TFLOP/s in bf16 with fp32 sums, or in fp16 without bf16
#: (V100, T4). The first match counts.
PEAK_TFLOPS = {
    'B200': 2250.0,
    'H100 NVL': 835.0,
    'H100 PCIe': 756.0,
    'H100': 989.0,
    'H200': 989.0,
    'H800': 989.0,
    'GH200': 989.0,
    'A100': 312.0,
    'A800': 312.0,
    'L40S': 362.0,
    'L40': 181.0,
    'L4': 121.0,
    'A40': 150.0,
    'A30': 165.0,
    'A10': 125.0,
    'V100': 125.0,
    'T4': 65.0,
    'RTX 4090': 165.0,
    'RTX 3090': 71.0,
    'MI325X': 1307.0,
    'MI300X': 1307.0,
    'MI250X': 383.0,
}


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        encoder_params: Parameters of the online encoder, which is what remains after pre-training.
        params: All trained parameters; those of the target network are not.
        step_macs: Multiply-adds of one training step (forward and backward of all views) per image.
    """

    encoder_params: int
    params: int
    step_macs: float


def count_cost(cfg: Config, batch: int = 2) -> Cost:
    """Run one step of a config's model at its own image sizes, on random pixels, and count.

    Matrix products, convolutions and attention are counted; element-wise work is not, as is usual.

    Args:
        cfg: A config with ``model`` and a training pipeline that cuts views with ``MultiView``.
        batch: Images in the counted step; BatchNorm needs two.
    """
    hub = MessageHub.get_current_instance()
    if hub.get_info('max_iters') is None:
        hub.update_info('max_iters', 1)  # mmpretrain's moving average asks for it
    model = build_model(cfg)
    model.init_weights()
    views = [torch.randn(batch, 3, size, size) for size in view_sizes(cfg.train_dataloader.dataset.pipeline)]
    # Attention as plain products: the counter does not know the fused kernels of CPUs.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss, _ = model.parse_losses(model(views, None, mode='loss'))
        loss.backward()
    return Cost(
        encoder_params=sum(p.numel() for p in model.backbone.parameters()),
        params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        step_macs=counter.get_total_flops() / 2 / batch,
    )


def peak_tflops(device_name: str) -> float | None:
    """Return the peak of a device in TFLOP/s, or None if it is not listed.

    Args:
        device_name: As ``torch.cuda.get_device_name`` gives it: 'NVIDIA H100 80GB HBM3'.
    """
    words = device_name.replace('-', ' ').split()
    if 'Laptop' in words:
        return None  # slower by a factor that depends on the laptop
    for name, peak in PEAK_TFLOPS.items():
        if all(word in words for word in name.split()):  # as words: an 'A10' is no 'A100'
            return peak
    return None
