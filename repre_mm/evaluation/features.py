"""Hold a frozen encoder with what its images need, and extract their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmengine.dist import all_gather_object
from timm.layers import DropPath as TimmDropPath
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from repre_mm.evaluation.loaders import SharedBatches
from repre_mm.evaluation.resuming import EvaluationState
from repre_mm.models.backbones import TimmBackbone
from repre_mm.models.taps import encoder_levels, pooled
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode

#: Width from which DINO adds the mean patch token instead of earlier class tokens (ViT-S has 384, ViT-B 768).
DINO_WIDE = 768
_ROUND = 64  # batches after which processes exchange features


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder with what its images need.

    Attributes:
        module: The encoder, on its device; functions that use it put it in evaluation mode meanwhile.
        mean: Per channel, in units of [0, 255], RGB.
        std: Likewise.
        image_size: Side of its square crops, in pixels.
        model: The config's file name, or ``'timm:NAME'``.
        weights: The file's name, or ``'random'``.
        network: Which network of the file it is and why, for people.
        data_root: The data of its config.
    """

    module: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    image_size: int
    model: str = ''
    weights: str = ''
    network: str = ''
    data_root: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return next(self.module.parameters()).device

    def weights_sum(self) -> float:
        """A number that other weights, under the same file name, do not have."""
        total = sum(value.double().abs().sum().item() for value in self.module.state_dict().values())
        return float(f'{total:.9g}')  # the order of sums depends on the number of threads

    def normalised(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 255] -> the same, float32, normalised as in training, on the encoder's device."""
        device = self.device
        mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (images.to(device, non_blocking=True).float() - mean) / std


def global_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """Compute one vector (B, C) per image from an encoder's last output, see :func:`repre_mm.models.taps.pooled`.

    Args:
        encoder: It may be in the middle of training: it is in evaluation mode meanwhile, and gets no gradients.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.
    """
    with eval_mode(encoder), torch.no_grad():
        return pooled(encoder(images))


def has_class_token(encoder: nn.Module) -> bool:
    """Whether an encoder of mmpretrain or timm has a class token."""
    return getattr(getattr(encoder, 'model', encoder), 'cls_token', None) is not None


def block_tokens(encoder: nn.Module, images: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Compute class and patch tokens of a ViT's last blocks, each after the final norm.

    Args:
        encoder: mmpretrain's ``VisionTransformer`` (and its children), or ``TimmBackbone`` around a ViT.
        images: As for :func:`global_features`.
        count: How many blocks.

    Returns:
        Pairs of (B, C) and (B, N, C), shallow to deep.

    Raises:
        UserError: The encoder has no blocks with a class token, or fewer of them.
    """
    blocks = encoder_levels(encoder).modules if has_class_token(encoder) else ()
    if count > len(blocks):
        raise UserError(f'{type(encoder).__name__} has no {count} blocks with class tokens')
    if isinstance(encoder, TimmBackbone):
        norm, extra = encoder.model.norm, encoder.model.num_prefix_tokens
    else:
        norm, extra = encoder.ln1 if encoder.final_norm else nn.Identity(), encoder.num_extra_tokens
    outputs: list[Tensor] = []
    with ExitStack() as hooks, eval_mode(encoder), torch.no_grad():
        for block in blocks[len(blocks) - count :]:
            hooks.enter_context(block.register_forward_hook(lambda _, __, tokens: outputs.append(tokens)))
        encoder(images)
        return [(tokens[:, 0], tokens[:, extra:]) for tokens in map(norm, outputs)]


def encode(
    encoder: FrozenEncoder, images: Tensor, features: str = 'output', *, amp: bool = False, draws: Tensor | None = None
) -> Tensor:
    """Compute the vectors of a batch: the one way in which every evaluation gets them.

    Args:
        encoder: Used on its device.
        images: (B, 3, H, W), uint8 or float in [0, 255].
        features: ``'output'``: (B, C), see :func:`global_features`. ``'dino'`` (DINO, Appendix F.2): the class tokens
            of a narrow ViT's last 4 blocks, (B, 4 C); the last class token and the mean patch token of a wide one, (B,
            2 C); and of a pyramid the pooled last stage, which is its own output.
        amp: Run the encoder in bfloat16 autocast.
        draws: Let drop-path act, by these random numbers in [0, 1), (modules, B); for ``'output'``.

    Returns:
        (B, C), float32, on the encoder's device.

    Raises:
        UserError: The encoder has no such features.
    """
    if not len(images):  # the share of a process in a small last batch
        blank = images.new_zeros(1, *images.shape[1:])
        return encode(encoder, blank, features, amp=amp)[:0]
    module, images = encoder.module, encoder.normalised(images)
    autocast = torch.autocast(images.device.type, torch.bfloat16, amp)
    with ExitStack() as hooks, eval_mode(module), torch.no_grad(), autocast:
        if features == 'dino' and has_class_token(module):
            if module.embed_dims < DINO_WIDE:
                return torch.cat([token for token, _ in block_tokens(module, images, 4)], dim=1).float()
            ((token, patches),) = block_tokens(module, images, 1)
            return torch.cat([token, patches.mean(dim=1)], dim=1).float()
        if draws is not None:
            for part, row in zip(drop_paths(module), draws.to(images), strict=True):
                hooks.enter_context(part.register_forward_hook(partial(_drop, row)))
        return pooled(module(images)).float()


def _drop(draws: Tensor, module: nn.Module, _: tuple, output: Tensor) -> Tensor:
    """Do what a drop-path, which passes all in evaluation mode, does in training."""
    kept = (draws >= module.drop_prob) / (1 - module.drop_prob)
    return output * kept.to(output.dtype).view(-1, *[1] * (output.ndim - 1))


def drop_paths(encoder: nn.Module) -> list[nn.Module]:
    """Find the drop-path modules of an encoder of mmpretrain or timm."""
    return [module for module in encoder.modules() if isinstance(module, (DropPath, TimmDropPath))]


def extract_features(
    encoder: FrozenEncoder,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    amp: bool = False,
    progress: bool = True,
    state: EvaluationState | None = None,
    name: str = 'features',
) -> tuple[Tensor, Tensor]:
    """Compute vectors (N, C), float32, and collect labels (N,), int64, of a data set, both on the CPU.

    From a loader of :func:`repre_mm.evaluation.image_folder_loader` all processes of a group extract together, each its
    part of every batch, and each gets all vectors in the order of the data set. All of them have to call this.

    Args:
        encoder: See :func:`encode`.
        batches: Pairs of images (B, 3, H, W), uint8 or float in [0, 255], and integer labels (B,).
        amp: See :func:`encode`.
        progress: Show a progress bar with the time left.
        state: For such a loader: where to save what is done, and to go on from after a stop.
        name: Of the data set, for the progress bar and for the files of ``state``.

    Raises:
        UserError: There are no batches, or the encoder gave NaN or infinite values.
    """
    shared = isinstance(batches, DataLoader) and isinstance(batches.batch_sampler, SharedBatches)
    done, part, rows = [], [], 0
    while state and (saved := state.load(f'{name}-{rows}')):
        done.append((saved['features'], saved['labels']))
        rows += len(saved['labels'])
    if shared:
        batches.batch_sampler.first = rows
    bar = tqdm(batches, desc=name, unit='batch', disable=not progress)
    for step, (images, labels) in enumerate(bar, 1):
        part.append((encode(encoder, images, amp=amp).cpu().contiguous(), labels.long().cpu()))
        if not shared or step % _ROUND == 0 or step == len(batches):
            # Of each batch, the parts in order of rank.
            whole = chain(*zip(*all_gather_object(part), strict=True)) if shared else part
            done.append(tuple(map(torch.cat, zip(*whole, strict=True))))
            if state:
                state.save(f'{name}-{rows}', features=done[-1][0], labels=done[-1][1])
            part, rows = [], rows + len(done[-1][1])
    if not done:
        raise UserError('there are no images to extract features from: the iterable gave no batches')
    features, labels = map(torch.cat, zip(*done, strict=True))
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        raise UserError(
            f'the features of {int((~finite).sum())} of {len(finite)} images are NaN or infinite: the '
            'checkpoint comes from a diverged training, or reduced precision overflows'
        )
    return features, labels
