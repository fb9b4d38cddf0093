"""Compare the losses of the same steps of every method on the CPU and on a GPU, in fp32.

    python tools/benchmarks/parity.py [--device cuda] [--steps 3] [--out docs/benchmarks/NAME]

Toy configs, with RePre, on the same weights and images, without TF32; the optimizer is SGD, since AdamW makes large
steps of rounding errors where gradients are almost zero. The script ends with status 1 where a loss is further than
``--tolerance`` from the CPU's, relatively. The last line of standard output is a JSON object.
"""

import argparse
import copy
import json
import logging
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from report import command_line, describe, machine, publish, table
from tqdm import tqdm

from repre_mm.datasets import view_sizes
from repre_mm.distributed.sync_batchnorm import sync_batchnorm_on_cpu
from repre_mm.engine.hooks.momentum import take_over_averages
from repre_mm.models.build import build_model
from repre_mm.models.selfsup import DINO, CosineEMA

ROOT = Path(__file__).resolve().parents[2]


def losses(config: Path, device: str, steps: int, batch: int) -> list[dict[str, float]]:
    """Both losses of each step; weights, images and random draws come from the CPU's generator."""
    torch.manual_seed(0)
    cfg = Config.fromfile(config)
    model = build_model(cfg)
    model.init_weights()
    take_over_averages(model)
    sync_batchnorm_on_cpu(model)
    averages = [module for module in model.modules() if isinstance(module, CosineEMA)]
    for module in model.modules():
        if isinstance(module, CosineEMA):
            module.max_steps = steps
        if isinstance(module, DINO):
            module.epoch = 1
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0  # drawn on the device
    model.to(device).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    found = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
        colour = torch.randn(batch, 3, 1, 1, generator=generator)
        views = [(torch.randn(batch, 3, size, size, generator=generator) + colour).to(device) for size in sizes]
        torch.manual_seed(step)
        outputs = model(views, None, mode='loss')
        optimizer.zero_grad()
        outputs['loss'].backward()
        optimizer.step()
        for average in averages:
            average.step()
        found.append({name: outputs[name].item() for name in ('contrast', 'recon_l1')})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description='Compare the losses of CPU and GPU.')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda')
    parser.add_argument('--steps', type=int, default=3)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--tolerance', type=float, default=1e-3, help='relative')
    parser.add_argument('--out', type=Path, help='path of the .md and .json, without suffix')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('error: there is no GPU here; --device cpu compares the CPU with itself')
    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
    MessageHub.get_instance('parity').update_info('max_iters', 1000)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    result, rows = {}, []
    configs = sorted((ROOT / 'configs/toy').glob('repre_*_toy.py'))
    for config in tqdm(configs, desc='methods'):
        here, there = (losses(config, device, args.steps, args.batch) for device in ('cpu', args.device))
        worst = {
            name: max(abs(b[name] - a[name]) / max(abs(a[name]), 1e-6) for a, b in zip(here, there, strict=True))
            for name in here[0]
        }
        method = config.stem.removeprefix('repre_').partition('_')[0]
        result[method] = {'cpu': here, args.device: copy.deepcopy(there), 'worst': worst}
        rows.append([method, f'{here[-1]["contrast"]:.5f}', f'{there[-1]["contrast"]:.5f}'])
        rows[-1] += [f'{worst[name]:.1e}' for name in ('contrast', 'recon_l1')]
    columns = ['method', 'contrast, CPU', f'contrast, {args.device}', 'largest difference', 'of the L1']
    text = [
        '# Losses on CPU and GPU',
        '',
        command_line(),
        '',
        describe(machine(args.device)),
        '',
        f'Toy configs with RePre, batch {args.batch}, {args.steps} steps, fp32 without TF32. Losses of the last step; '
        'relative differences, the largest of all steps.',
        '',
        *table(columns, rows),
    ]
    ratios = {method: max(each['worst'].values()) for method, each in result.items()}
    publish(args.out, '\n'.join(text) + '\n', result, ratios)
    if max(ratios.values()) > args.tolerance:
        sys.exit(f'error: further apart than {args.tolerance}: {json.dumps(ratios)}')


if __name__ == '__main__':
    main()
