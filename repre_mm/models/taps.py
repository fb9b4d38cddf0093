"""Levels of one encoder forward: the modules that produce them, and a tap that listens without a second pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmpretrain.models import ResNet, SwinTransformer, VisionTransformer
from torch import Tensor, nn

from repre_mm.utils.errors import UserError


@dataclass(frozen=True)
class EncoderLevels:
    """The levels that an encoder offers, shallow to deep: L blocks of a ViT, or the stages of a pyramid.

    Attributes:
        modules: One per level; its output is that level.
        channels: Channels C of each level.
        strides: Input pixels per cell of each level, (vertical, horizontal).
        to_map: ``(module output, (h, w)) -> (B, C, h, w)``, where (h, w) is input size over stride.
    """

    modules: Sequence[nn.Module]
    channels: Sequence[int]
    strides: Sequence[tuple[int, int]]
    to_map: Callable[[Any, tuple[int, int]], Tensor]

    def __len__(self) -> int:
        return len(self.modules)


def tokens_to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Drop leading class and register tokens, and lay the others out: (B, T + h * w, C), grid (h, w) -> (B, C, h, w).

    Raises:
        ValueError: There are fewer tokens than the grid has cells.
    """
    h, w = grid
    extra = tokens.shape[1] - h * w
    if extra < 0:
        raise ValueError(f'the encoder gave {tokens.shape[1]} tokens for a grid of {h} x {w} patches')
    return tokens[:, extra:].transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], h, w)


def pooled(output: Tensor | Sequence[Tensor]) -> Tensor:
    """Pool an encoder's last output, a vector (B, C) or a map (B, C, h, w), to (B, C).

    Raises:
        UserError: The output is neither.
    """
    if isinstance(output, (tuple, list)):
        output = output[-1]
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    if output.ndim != 2:
        raise UserError(
            f'the encoder returned {list(output.shape)} where (B, C) or (B, C, h, w) is needed: for a vision '
            "transformer set out_type='cls_token', 'avg_featmap' or 'featmap' in the backbone"
        )
    return output


def _vit_levels(vit: VisionTransformer) -> EncoderLevels:
    stride = tuple(vit.patch_embed.projection.stride)
    depth = len(vit.layers)
    return EncoderLevels(list(vit.layers), [vit.embed_dims] * depth, [stride] * depth, tokens_to_map)


def _swin_levels(swin: SwinTransformer) -> EncoderLevels:
    # A stage hands over (tokens, (h, w)) before patch merging, unless it is told to merge inside.
    if swin.out_after_downsample:
        raise ValueError(
            'SwinTransformer(out_after_downsample=True) merges patches inside its stages: '
            'RePre needs each stage before merging, so set out_after_downsample=False'
        )
    patch = tuple(swin.patch_embed.projection.stride)
    strides = [(patch[0] * 2**i, patch[1] * 2**i) for i in range(len(swin.stages))]
    return EncoderLevels(
        list(swin.stages),
        list(swin.num_features),
        strides,
        # The stage's own (h, w): it may have padded an odd map.
        lambda output, _: tokens_to_map(output[0], output[1]),
    )


def _resnet_levels(resnet: ResNet) -> EncoderLevels:
    stages = [getattr(resnet, name) for name in resnet.res_layers]
    strides, stride = [], 4  # the stem: a strided convolution and a strided pooling
    for stage_stride in resnet.strides[: len(stages)]:
        stride *= stage_stride
        strides.append((stride, stride))
    widths = [resnet.base_channels * 2**i * resnet.expansion for i in range(len(stages))]
    return EncoderLevels(stages, widths, strides, lambda output, _: output)


_FAMILIES: dict[type[nn.Module], Callable[[Any], EncoderLevels]] = {
    VisionTransformer: _vit_levels,  # MoCoV3ViT and DistilledVisionTransformer are subclasses
    SwinTransformer: _swin_levels,
    ResNet: _resnet_levels,
}


def encoder_levels(backbone: nn.Module) -> EncoderLevels:
    """Describe the levels of an encoder.

    An adapter can describe itself with a method ``encoder_levels() -> EncoderLevels``.

    Raises:
        TypeError: The encoder is of no known family; the message says what to do.
    """
    if hasattr(backbone, 'encoder_levels'):
        return backbone.encoder_levels()
    for family, describe in _FAMILIES.items():
        if isinstance(backbone, family):
            return describe(backbone)
    known = ', '.join(family.__name__ for family in _FAMILIES)
    raise TypeError(
        f'RePre does not know the levels of {type(backbone).__name__}. Known families: {known}. '
        "For a timm model use type='repre_mm.TimmBackbone'. "
        'For another encoder, give it a method `encoder_levels()` returning an EncoderLevels.'
    )


class LevelTap:
    """Listen to the forward of the online encoder that sees a given view, and keep its levels.

    The hooks exist only while the tap is open, so copies of the encoder (EMA targets, ``deepcopy``) never carry them,
    and the caller of :meth:`open` holds the levels, so no graph tensor stays behind.
    """

    def __init__(self) -> None:
        # Rows of the view by (call, batch size, size of the view). They follow from the algorithm's code: found once by
        # comparing pixels, then reused, since a comparison waits for the device.
        self._layouts: dict[tuple[int, int, int], slice | None] = {}

    @contextmanager
    def open(
        self, backbone: nn.Module, indices: Sequence[int], view: Tensor, need_grad: bool = True
    ) -> Iterator[dict[int, Tensor]]:
        """Listen while the body of the ``with`` statement runs.

        Args:
            backbone: The online encoder.
            indices: The levels wanted.
            view: (B, 3, H, W), the very pixels that the algorithm receives.
            need_grad: Skip forwards without gradients (those that make the keys of a shared encoder).

        Yields:
            A dict, filled with ``{index: (B, C, h, w)}`` when the body ends; empty if the encoder never saw the view.

        Raises:
            RuntimeError: The encoder saw the view without calling the modules of its levels.
        """
        levels = encoder_levels(backbone)
        heard: dict[int, Any] = {}
        rows = found = None  # of the view: in the call under way, and in the call that was heard
        calls = 0

        def enter(module: nn.Module, args: tuple) -> None:
            nonlocal rows, calls
            if not heard and (torch.is_grad_enabled() or not need_grad):
                rows = self.rows_of_view(view, args[0], calls)
                calls += 1

        def listen(index: int, module: nn.Module, args: tuple, output: Any) -> None:
            if rows is not None:
                heard[index] = output

        def leave(module: nn.Module, args: tuple, output: Any) -> None:
            nonlocal rows, found
            if rows is not None:
                found, rows = rows, None

        handles = [backbone.register_forward_pre_hook(enter), backbone.register_forward_hook(leave)]
        handles += [levels.modules[index].register_forward_hook(partial(listen, index)) for index in indices]
        maps: dict[int, Tensor] = {}
        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()
        missing = [index for index in indices if index not in heard]
        if missing and found is not None:
            raise RuntimeError(
                f'{type(backbone).__name__} encoded view 1 without calling the modules of its levels {missing} '
                f'({type(levels.modules[missing[0]]).__name__}): its forward bypasses them, or re-computes their parts '
                'for the backward pass (activation checkpointing); choose another encoder, or switch that off'
            )
        for index, output in heard.items():
            rows_per_cell, columns_per_cell = levels.strides[index]
            grid = (view.shape[-2] // rows_per_cell, view.shape[-1] // columns_per_cell)
            maps[index] = levels.to_map(output, grid)[found]

    def rows_of_view(self, view: Tensor, batch: Tensor, call: int) -> slice | None:
        """Find the rows of a view in what the encoder got in its ``call``-th forward of a step; None: not there."""
        if batch.shape[1:] != view.shape[1:] or len(batch) % len(view):
            return None
        if batch.data_ptr() == view.data_ptr() and batch.shape == view.shape and batch.stride() == view.stride():
            return slice(None)
        key = (call, len(batch), len(view))
        if key not in self._layouts:
            self._layouts[key] = find_rows(batch, view)
        return self._layouts[key]


def find_rows(batch: Tensor, view: Tensor) -> slice | None:
    """Find the rows of a batch (V * B, 3, H, W) of V views that hold a view (B, 3, H, W), or None.

    The views may be stacked one block after another, or interleaved.
    """
    size, views = len(view), len(batch) // len(view)
    blocks = [slice(i * size, (i + 1) * size) for i in range(views)]
    interleaved = [slice(i, None, views) for i in range(views)]
    return next((rows for rows in blocks + interleaved if torch.equal(batch[rows], view)), None)
