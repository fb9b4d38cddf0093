"""The model as it will be built, but without memory for its weights: does it build, and do its parts fit together?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine import registry
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from repre_mm.datasets import DatasetError, view_sizes
from repre_mm.engine.checks.names import default_of, resolve
from repre_mm.engine.checks.trouble import culprit_of
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.taps import encoder_levels

Size = tuple[int, int]

_ALLOCATING = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_DEFAULT_SIZE = (224, 224)


class WithoutMemory(TorchFunctionMode):
    """Put what allocates on the device ``meta``, which has shapes and no numbers.

    Not all that makes a tensor, as ``torch.device('meta')`` does: constructors compute with small ones.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Called by torch in place of its functions."""
        kwargs = dict(kwargs or {})
        if func in _ALLOCATING:
            kwargs.setdefault('device', 'meta')
        return func(*args, **kwargs)


def build_without_memory(cfg: Config) -> nn.Module:
    """The config's model on the device ``meta``; the constructors of all its parts run, and raise what they raise."""
    model = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    scope = cfg.get('default_scope') or 'mmengine'
    # Constructors draw numbers too: the random stream of what follows must not depend on the check.
    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope(scope), WithoutMemory():
        return MODELS.build(ConfigDict(model)).to('meta')


def width_faults(cfg: Config, model: nn.Module) -> Iterator[str]:
    """Input sizes that the encoder does not take, and parts that expect other widths than they get.

    The encoder runs, on the device ``meta``, on every size that the pipeline gives it.

    Args:
        cfg: The whole config.
        model: From :func:`build_without_memory`.
    """
    path = 'model.algorithm' if isinstance(model, RePreAlgorithm) else 'model'
    parts = cfg.model.algorithm if isinstance(model, RePreAlgorithm) else cfg.model
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        return
    backbone.eval()
    maps: Sequence[Tensor] = ()
    sizes = input_sizes(cfg)
    for size in reversed(list(dict.fromkeys(sizes)) or [_DEFAULT_SIZE]):
        if fault := _indivisible(cfg, backbone, size):
            yield fault
            continue
        try:
            maps = _run(backbone, size)
        except (
            NotImplementedError,
            TypeError,
        ):  # an operator that has no version for `meta`; more inputs than an image
            return
        except Exception as error:  # whatever a layer makes of a size that it cannot take
            if not sizes:  # the images may have another one, or other channels
                return
            yield f'{path}.backbone: {culprit_of(error, backbone)} on an input of {size[0]} x {size[1]} pixels'
    if maps:
        yield from _part_faults(parts, path, [_width(value) for value in maps], cfg.get('default_scope') or 'mmengine')
    if isinstance(model, RePreAlgorithm):
        yield from _branch_faults(cfg, model)


def input_sizes(cfg: Config) -> list[Size]:
    """Heights and widths that the training pipeline gives the encoder, view 1 first; none where it does not tell."""
    pipeline = (cfg.train_dataloader.get('dataset') or {}).get('pipeline') or []
    try:
        return [_pair(size) for size in view_sizes(pipeline)]
    except (DatasetError, TypeError, ValueError):
        pass
    sizes = [_pair(step[key]) for step in pipeline for key in _crops(step)]
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if not sizes and preprocessor.get('size'):
        sizes = [_pair(preprocessor['size'])]
    return sizes[-1:]


def _crops(step: dict) -> list[str]:
    keys = {'RandomResizedCrop': 'scale', 'RandomCrop': 'crop_size', 'CenterCrop': 'crop_size'}
    key = keys.get(str(step.get('type')).rpartition('.')[2])
    return [key] if key in step else []


def _pair(size: int | Sequence[int]) -> Size:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _run(backbone: nn.Module, size: Size) -> list[Tensor]:
    with torch.no_grad():
        output = backbone(torch.zeros(2, 3, *size, device='meta'))
    output = output if isinstance(output, (list, tuple)) else [output]
    return [value[0] if isinstance(value, (list, tuple)) else value for value in output]


def _indivisible(cfg: Config, backbone: nn.Module, size: Size) -> str | None:
    """A ViT cuts off what is left over at the edges."""
    try:
        strides = encoder_levels(backbone).strides
    except TypeError:  # a family that is not known; RePre says so when it is built
        return None
    patch = strides[0]
    if strides[0] != strides[-1] or not (size[0] % patch[0] or size[1] % patch[1]):
        return None
    fits = [max(side // step, 1) * step for side, step in zip(size, patch, strict=True)]
    return (
        f'train_dataloader.dataset.pipeline: a crop of {size[0]} x {size[1]} pixels is not divisible by the patch of '
        f'{patch[0]} x {patch[1]}: choose a crop of {fits[0]} x {fits[1]}, or another patch_size of the backbone'
    )


def _width(value: Tensor) -> int:
    """Channels of a map (B, C, H, W), a vector (B, C) or tokens (B, N, C)."""
    return value.shape[-1] if value.ndim == 3 else value.shape[1]


def _part_faults(parts: ConfigDict, path: str, widths: list[int], scope: str) -> Iterator[str]:
    """Follow the channels from the encoder through neck and heads, by what the config says of each."""
    source = f'{path}.backbone'

    def value(part: dict, key: str) -> Any:
        if key in part:
            return part[key]
        target = resolve(part.get('type'), (registry.MODELS,), scope)
        return default_of(target, key) if target else None

    neck = parts.get('neck')
    if isinstance(neck, dict):
        yield from _expects(f'{path}.neck.in_channels', value(neck, 'in_channels'), widths, source)
        out = value(neck, 'out_channels')
        if not isinstance(out, int) and not str(neck.get('type')).endswith('Pooling'):
            return  # it does not say how wide its output is
        if isinstance(out, int):
            count = value(neck, 'num_outs') or (len(widths) if isinstance(value(neck, 'in_channels'), list) else 1)
            widths, source = [out] * count, f'{path}.neck'
    yield from _expects(f'{path}.feat_dim', value(parts, 'feat_dim'), widths, source)
    for name, head in _heads(parts, path):
        index = value(head, 'in_index')
        in_channels = value(head, 'in_channels')
        chosen = widths
        if isinstance(index, int) and -len(widths) <= index < len(widths):
            chosen = [widths[index]]
        elif isinstance(index, (list, tuple)) and all(-len(widths) <= i < len(widths) for i in index):
            chosen = [widths[i] for i in index]
        elif index is not None:
            yield f'{name}.in_index={index}: {source} gives {len(widths)} levels, 0 to {len(widths) - 1}'
            continue
        yield from _expects(f'{name}.in_channels', in_channels, chosen, source)
        if name.endswith('predictor') and isinstance(head.get('out_channels'), int):
            yield from _expects(f'{name}.out_channels', head['out_channels'], chosen, source)
    roi = parts.get('roi_head') or {}
    for kind in ('bbox', 'mask'):
        extractor, head = roi.get(f'{kind}_roi_extractor'), roi.get(f'{kind}_head')
        if isinstance(extractor, dict) and isinstance(extractor.get('out_channels'), int):
            name, out = f'{path}.roi_head.{kind}_roi_extractor', extractor['out_channels']
            yield from _expects(f'{name}.out_channels', out, widths, source)
            if isinstance(head, dict):
                into = value(head, 'in_channels')
                yield from _expects(f'{path}.roi_head.{kind}_head.in_channels', into, [out], name)


def _heads(parts: ConfigDict, path: str) -> Iterator[tuple[str, dict]]:
    """Every part that reads what the neck gives, and its name."""
    for key in ('head', 'decode_head', 'auxiliary_head', 'rpn_head', 'bbox_head', 'predictor'):
        found = parts.get(key)
        for index, head in enumerate(found if isinstance(found, (list, tuple)) else [found]):
            if isinstance(head, dict):
                name = f'{path}.{key}' if found is head else f'{path}.{key}.{index}'
                yield name, head
                if isinstance(head.get('predictor'), dict):
                    yield f'{name}.predictor', head['predictor']


def _expects(name: str, expected: Any, widths: Sequence[int], source: str) -> Iterator[str]:
    if isinstance(expected, int) and expected != widths[-1]:
        yield f'{name}={expected}: {source} gives {widths[-1]} channels; set it to {widths[-1]}'
    elif isinstance(expected, (list, tuple)) and list(expected) != list(widths):
        yield f'{name}={list(expected)}: {source} gives {list(widths)} channels; set it to that'


def _branch_faults(cfg: Config, model: RePreAlgorithm) -> Iterator[str]:
    """RePre's own neck and decoder, run on maps as the encoder's levels will be."""
    levels, size = encoder_levels(model.backbone), (input_sizes(cfg) or [_DEFAULT_SIZE])[0]
    rows, columns = model.repre_decoder.patch_size
    if size[0] % rows or size[1] % columns:
        if levels.strides[0] == levels.strides[-1]:
            return  # a ViT's: said already
        fits = [max(side // step, 1) * step for side, step in zip(size, (rows, columns), strict=True)]
        yield (
            f'train_dataloader.dataset.pipeline: view 1 of {size[0]} x {size[1]} pixels is not divisible by the patch '
            f'of {rows} x {columns} that RePre draws: choose a crop of {fits[0]} x {fits[1]}'
        )
        return
    maps = [
        torch.zeros(2, levels.channels[i], *(math.ceil(s / t) for s, t in zip(size, levels.strides[i], strict=True)))
        for i in model.repre_neck.indices
    ]
    given = {'model.neck': cfg.model.get('neck') or {}, 'model.decoder': cfg.model.get('decoder') or {}}
    part = 'model.neck'
    try:
        with torch.no_grad():
            decoded = model.repre_neck.eval()([value.to('meta') for value in maps])
            part = 'model.decoder'
            drawn = model.repre_decoder.eval()(decoded)
    except Exception as error:
        needed = list(levels.channels) if part == 'model.neck' else list(model.repre_neck.out_channels)
        yield (
            f'{part}.in_channels={given[part].get("in_channels")}: the levels have {needed} channels; leave it out, it '
            f'is inferred ({str(error).splitlines()[0]})'
        )
        return
    if tuple(drawn.shape[-2:]) != size:
        yield (
            f'model.decoder.patch_size={given["model.decoder"].get("patch_size")}: it draws {drawn.shape[-2]} x '
            f'{drawn.shape[-1]} pixels of a view of {size[0]} x {size[1]}; leave it out, it is inferred'
        )
