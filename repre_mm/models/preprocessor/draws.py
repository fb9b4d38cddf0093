"""Random draws of a batch's augmentation: which image is changed by which kernel, in which order, by how much.

They are made on the host, a fixed number per image and step: they are the same on every device, no image's draws depend
on another's, and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from repre_mm.datasets.views.steps import (
    ColorJitter,
    GaussianBlur,
    RandomApply,
    RandomGrayscale,
    Solarize,
    build_step,
)


class Change(NamedTuple):
    """A kernel to apply to some images of a batch, with one number for each."""

    kernel: str
    images: Tensor  # (n,) int64: positions in the batch
    numbers: Tensor  # (n,) float32


class ViewRecipe:
    """The steps of one view that follow its crop and flip.

    Args:
        configs: ``RandomApply``, ``ColorJitter``, ``RandomGrayscale``, ``GaussianBlur`` and ``Solarize``, as in
            ``configs/_base_/views``; the distributions are those of ``repre_mm.FastMultiView``.

    Raises:
        ValueError: Another step, or arguments that there is no fast step for.
    """

    def __init__(self, configs: Sequence[dict]) -> None:
        self.steps = [build_step(config) for config in configs]
        for step in _flat(self.steps):
            if type(step) not in _DRAW:
                known = ', '.join(kind.__name__ for kind in _DRAW)
                raise ValueError(
                    f'{type(step).__name__} cannot be done on the device, only {known}: leave it to the loader'
                )
        #: Pixels to each side that the widest blur reaches: three standard deviations.
        self.blur_radius = max(
            (round(3 * step.magnitude_range[1] + 0.5) for step in _flat(self.steps) if isinstance(step, GaussianBlur)),
            default=0,
        )

    def draw(self, batch: int, generator: Generator) -> list[Change]:
        """Draw the changes of a batch of images, in their order."""
        everyone = torch.ones(batch, dtype=torch.bool)
        return [change for step in self.steps for change in _draw(step, everyone, generator) if len(change.images)]


def _flat(steps: Sequence) -> Iterator:
    for step in steps:
        if isinstance(step, RandomApply):
            yield from _flat(step.steps)
        else:
            yield step


def _draw(step: object, among: Tensor, generator: Generator) -> Iterator[Change]:
    if isinstance(step, RandomApply):
        chosen = _toss(step.prob, among, generator)
        for inner in step.steps:
            yield from _draw(inner, chosen, generator)
    else:
        yield from _DRAW[type(step)](step, among, generator)


def _jitter(step: ColorJitter, among: Tensor, generator: Generator) -> Iterator[Change]:
    # (batch, number of kernels): which kernel comes first, second, ...
    order = torch.rand(len(among), len(step.ranges), generator=generator).argsort(1)
    factors = {kernel: _uniform(range_, among, generator) for kernel, range_ in step.ranges.items()}
    for turn in order.unbind(1):
        for i, kernel in enumerate(step.ranges):
            yield _change(kernel, among & (turn == i), factors[kernel])


def _greyscale(step: RandomGrayscale, among: Tensor, generator: Generator) -> Iterator[Change]:
    yield _change('greyscale', _toss(step.prob, among, generator), torch.ones(len(among)))


def _blur(step: GaussianBlur, among: Tensor, generator: Generator) -> Iterator[Change]:
    chosen = _toss(step.prob, among, generator)
    yield _change('gaussian_blur', chosen, _uniform(step.magnitude_range, among, generator))


def _solarize(step: Solarize, among: Tensor, generator: Generator) -> Iterator[Change]:
    # What 8 bits would round up to the threshold reaches it.
    threshold = torch.full((len(among),), (step.thr - 0.5) / 255)
    yield _change('solarize', _toss(step.prob, among, generator), threshold)


_DRAW = {ColorJitter: _jitter, RandomGrayscale: _greyscale, GaussianBlur: _blur, Solarize: _solarize}


def _toss(prob: float, among: Tensor, generator: Generator) -> Tensor:
    return among & (torch.rand(len(among), generator=generator) < prob)


def _uniform(range_: Sequence[float], among: Tensor, generator: Generator) -> Tensor:
    low, high = range_
    return low + (high - low) * torch.rand(len(among), generator=generator)


def _change(kernel: str, chosen: Tensor, numbers: Tensor) -> Change:
    return Change(kernel, chosen.nonzero()[:, 0], numbers[chosen])
