"""Data preprocessor that changes colours, blurs, solarizes and normalises on the device."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from mmengine.dist import get_rank
from mmpretrain.models import SelfSupDataPreprocessor
from torch import Generator, Tensor

from repre_mm.models.preprocessor import kernels
from repre_mm.models.preprocessor.draws import Change, ViewRecipe
from repre_mm.registry import MODELS


@MODELS.register_module()
class DeviceAugmentPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor of views, after the part of the augmentation that the loader leaves to the device.

    The loader crops, resizes and flips each view, in 8 bits; the rest is done here for whole batches, in fp32.
    ``device_augment=True`` in a config sets up both.

    The draws are seeded by a number of torch's stream and the rank. In a run that stream is reseeded at every iteration
    (:mod:`repre_mm.engine.resilience.replay`), so a resumed run draws the same.

    Args:
        num_views: How many views each list of steps is for, as in ``repre_mm.FastMultiView``.
        transforms: The steps of the views after crop and flip, see :class:`ViewRecipe`.
        mean: Of red, green and blue, in [0, 255]; without it nothing is normalised.
        std: Likewise.
        to_rgb: The views come in BGR, as ``FastMultiView`` cuts them. Colours are changed in RGB.
        non_blocking: Copy views to the device without waiting; they must come from pinned memory.

    Raises:
        ValueError: A step that the device cannot do; in a call: another number of views, or views not in 8 bits.
    """

    def __init__(
        self,
        num_views: int | Sequence[int],
        transforms: Sequence[Sequence[dict]],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(mean=mean, std=std, to_rgb=to_rgb, non_blocking=non_blocking)
        counts = [num_views] if isinstance(num_views, int) else list(num_views)
        if len(counts) != len(transforms):
            raise ValueError(f'num_views has {len(counts)} numbers for {len(transforms)} lists of steps in transforms')
        self.counts, self.recipes = counts, [ViewRecipe(configs) for configs in transforms]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Augment (in training only) and normalise ``inputs``: views uint8 -> float32 (B, 3, H, W), on the device."""
        if not training:
            return super().forward(data, training)
        self._check(data['inputs'])
        data = self.cast_data(data)
        views, generator = iter(data['inputs']), _own_generator()
        done: list[Tensor] = []
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            for count, recipe in zip(self.counts, self.recipes, strict=True):
                alike = list(islice(views, count))
                # As one batch: eight local views cost the host no more than one. (count * B, 3, H, W)
                done += self._augment(torch.cat(alike), recipe, generator).split([len(view) for view in alike])
        return {'inputs': done, 'data_samples': data.get('data_samples')}

    def _augment(self, views: Tensor, recipe: ViewRecipe, generator: Generator) -> Tensor:
        if self._channel_conversion:
            views = views[:, [2, 1, 0]]
        pixels = augment(views.float().div_(255), recipe.draw(len(views), generator), recipe.blur_radius).mul_(255)
        return pixels.sub_(self.mean).div_(self.std) if self._enable_normalize else pixels

    def _check(self, views: Sequence[Tensor]) -> None:
        if not isinstance(views, (list, tuple)) or len(views) != sum(self.counts):
            found = f'{len(views)} views' if isinstance(views, (list, tuple)) else 'one view, not a list'
            raise ValueError(
                f'the loader gives {found} and the data preprocessor has steps for {sum(self.counts)}: '
                'num_views of both must agree, see device_augment in docs/configs.md'
            )
        for view in views:
            if view.dtype != torch.uint8:
                raise ValueError(f'views must come in uint8 to be augmented on the device, not in {view.dtype}')


def augment(images: Tensor, changes: Sequence[Change], blur_radius: int) -> Tensor:
    """Change some images of a batch in place: float (B, 3, H, W) in [0, 1], RGB; they stay in [0, 1]."""
    sizes = [len(change.images) for change in changes]
    if not sizes:
        return images
    # All in two copies
    where, numbers = (
        _send(torch.cat(tensors), images.device).split(sizes)
        for tensors in zip(*((change.images, change.numbers) for change in changes), strict=True)
    )
    for change, chosen, values in zip(changes, where, numbers, strict=True):
        options = {'radius': blur_radius} if change.kernel == 'gaussian_blur' else {}
        images[chosen] = getattr(kernels, change.kernel)(images[chosen], values, **options)
    return images


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy without blocking, which takes pinned memory."""
    if device.type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _own_generator() -> Generator:
    """Seed a generator for one batch by a number of torch's stream and the rank, since ranks may share their stream."""
    drawn = torch.randint(2**63 - 1, ()).item()
    (seed,) = np.random.SeedSequence((drawn, get_rank())).generate_state(1, np.uint64)
    return Generator().manual_seed(int(seed))
