"""Build the model without memory for its weights, and run its parts one after the other to see whether they fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from repre_mm.datasets import DatasetError, view_sizes
from repre_mm.engine.checks.explain import failing_layer, first_line
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.taps import encoder_levels

Size = tuple[int, int]

_ALLOCATING = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_DEFAULT_SIZE = (224, 224)
# An operator without a version for ``meta``, or a forward that takes more than one argument.
_CANNOT_TELL = (NotImplementedError, TypeError)
_CROPS = {'RandomResizedCrop': 'scale', 'RandomCrop': 'crop_size', 'CenterCrop': 'crop_size'}


class WithoutMemory(TorchFunctionMode):
    """Allocate on the device ``meta``, which has shapes and no numbers.

    ``torch.device('meta')`` would also take the small tensors that constructors compute with.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Called by torch in place of each of its functions."""
        kwargs = dict(kwargs or {})
        if func in _ALLOCATING:
            kwargs.setdefault('device', 'meta')
        return func(*args, **kwargs)


def build_without_memory(cfg: Config) -> nn.Module:
    """Build the config's model on the device ``meta``; the constructors of its parts run, and raise what they raise."""
    model = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    scope = cfg.get('default_scope') or 'mmengine'
    # Constructors draw random numbers: what follows must not depend on the check.
    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope(scope), WithoutMemory():
        return MODELS.build(ConfigDict(model)).to('meta')


def width_faults(cfg: Config, model: nn.Module) -> Iterator[str]:
    """Find input sizes that the encoder does not take, and parts that do not take what the part before them gives.

    The encoder, the neck and the heads run on the device ``meta``; a detector's heads on regions do not.

    Args:
        cfg: The whole config.
        model: From :func:`build_without_memory`.
    """
    wrapped = isinstance(model, RePreAlgorithm)
    path, settings = ('model.algorithm', cfg.model.algorithm) if wrapped else ('model', cfg.model)
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        return
    model.eval()
    maps = None
    sizes = input_sizes(cfg)
    for size in reversed(list(dict.fromkeys(sizes)) or [_DEFAULT_SIZE]):
        if fault := _indivisible(backbone, size):
            yield fault
            continue
        try:
            maps = _run(backbone, torch.zeros(2, 3, *size, device='meta'))
        except _CANNOT_TELL:
            return
        except Exception as error:  # what a layer raises at a size that it cannot take
            if not sizes:  # the images may have another one, or other channels
                return
            yield f'{path}.backbone: {failing_layer(error, backbone)} on an input of {size[0]} x {size[1]} pixels'
    if maps is not None:
        yield from _misfits(model.algorithm if wrapped else model, settings, path, maps)
    if wrapped:
        yield from _branch_faults(cfg, model)


def _misfits(model: nn.Module, settings: ConfigDict, path: str, maps: Any) -> Iterator[str]:
    """Run neck and heads on what the encoder gives."""
    source = f'{path}.backbone'
    for name, module, options in _parts(model, settings, path):
        try:
            out = _run(module, maps)
        except _CANNOT_TELL:
            continue
        except Exception as error:
            yield _misfit(name, options, source, maps, module, error)
            if name == f'{path}.neck':
                return
            continue
        if name == f'{path}.neck':
            source, maps = name, out
        elif name.endswith('predictor') and _widths(out) != _widths(maps):  # it is compared with the projections
            wanted = _widths(maps)[-1]
            yield f'{name}.out_channels={_widths(out)[-1]}: {source} gives {wanted} channels; set it to {wanted}'
    queue = getattr(model, 'queue', getattr(model, 'queue1', None))  # the second is MoBY's
    if isinstance(queue, Tensor) and len(queue) != (wanted := _widths(maps)[-1]):
        yield f'{path}.feat_dim={len(queue)}: {source} gives {wanted} channels; set it to {wanted}'


def _parts(model: nn.Module, settings: ConfigDict, path: str) -> Iterator[tuple[str, nn.Module, ConfigDict]]:
    """Yield the neck and every module that reads its maps: place in the config, itself, and its part of the config."""
    for key in ('neck', 'head', 'decode_head', 'auxiliary_head', 'rpn_head', 'bbox_head'):
        part, options = getattr(model, key, None), settings.get(key)
        if isinstance(part, nn.ModuleList) and isinstance(options, (list, tuple)):
            yield from ((f'{path}.{key}.{i}', head, options[i]) for i, head in enumerate(part))
        elif isinstance(getattr(part, 'predictor', None), nn.Module):
            yield f'{path}.{key}.predictor', part.predictor, options.predictor
        elif isinstance(part, nn.Module) and isinstance(options, dict):
            yield f'{path}.{key}', part, options


def _run(module: nn.Module, values: Any) -> Any:
    with torch.no_grad():
        return module(values)


def _widths(maps: Any) -> list[int]:
    """Channels of each map (B, C, H, W), vector (B, C) or sequence of tokens (B, N, C)."""
    maps = maps if isinstance(maps, (list, tuple)) else [maps]
    maps = [value[0] if isinstance(value, (list, tuple)) else value for value in maps]
    return [value.shape[-1] if value.ndim == 3 else value.shape[1] for value in maps]


def _misfit(name: str, options: dict, source: str, maps: Any, module: nn.Module, error: Exception) -> str:
    widths = _widths(maps)
    wanted = options.get('in_channels')
    if wanted is None or wanted in (widths, widths[-1]):
        return f'{name}: {failing_layer(error, module)} on {source}, which gives {widths} channels'
    fix = widths if isinstance(wanted, (list, tuple)) else widths[-1]
    return f'{name}.in_channels={wanted}: {source} gives {fix} channels; set it to {fix}'


def input_sizes(cfg: Config) -> list[Size]:
    """Return heights and widths of what the training pipeline gives the encoder, view 1 first; none if unknown."""
    pipeline = (cfg.train_dataloader.get('dataset') or {}).get('pipeline') or []
    try:
        return [_pair(size) for size in view_sizes(pipeline)]
    except (DatasetError, TypeError, ValueError):
        pass
    sizes = [step.get(_CROPS.get(str(step.get('type')).rpartition('.')[2])) for step in pipeline]
    sizes = [(cfg.model.get('data_preprocessor') or {}).get('size'), *sizes]
    return [_pair(size) for size in sizes if size][-1:]


def _pair(size: int | Sequence[int]) -> Size:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _indivisible(backbone: nn.Module, size: Size) -> str | None:
    """Find a crop that a ViT's patches do not divide: it would cut off the edges without a word."""
    try:
        strides = encoder_levels(backbone).strides
    except TypeError:  # an unknown family, which RePre refuses when it is built
        return None
    if strides[0] != strides[-1]:
        return None
    return _uneven(size, strides[0], 'a crop', 'the patch', ', or another patch_size of the backbone')


def _uneven(size: Size, patch: Size, what: str, by: str, more: str = '') -> str | None:
    if not (size[0] % patch[0] or size[1] % patch[1]):
        return None
    fits = [max(side // step, 1) * step for side, step in zip(size, patch, strict=True)]
    return (
        f'train_dataloader.dataset.pipeline: {what} of {size[0]} x {size[1]} pixels is not divisible by {by} of '
        f'{patch[0]} x {patch[1]}: choose a crop of {fits[0]} x {fits[1]}{more}'
    )


def _branch_faults(cfg: Config, model: RePreAlgorithm) -> Iterator[str]:
    """Run RePre's own neck and decoder on maps of the encoder's levels."""
    levels, size = encoder_levels(model.backbone), (input_sizes(cfg) or [_DEFAULT_SIZE])[0]
    if fault := _uneven(size, model.repre_decoder.patch_size, 'view 1', "the patch of RePre's decoder"):
        if levels.strides[0] != levels.strides[-1]:  # a ViT's is reported already
            yield fault
        return
    maps = []
    for index in model.repre_neck.indices:
        grid = [math.ceil(side / step) for side, step in zip(size, levels.strides[index], strict=True)]
        maps.append(torch.zeros(2, levels.channels[index], *grid, device='meta'))
    part, needed = 'neck', levels.channels
    try:
        with torch.no_grad():
            aligned = model.repre_neck.eval()(maps)
            part, needed = 'decoder', model.repre_neck.out_channels
            drawn = model.repre_decoder.eval()(aligned)
    except Exception as error:
        given = (cfg.model.get(part) or {}).get('in_channels')
        yield (
            f'model.{part}.in_channels={given}: the levels have {list(needed)} channels; leave it out, it is inferred '
            f'({first_line(error)})'
        )
        return
    if tuple(drawn.shape[-2:]) != size:
        yield (
            f'model.decoder.patch_size={cfg.model.decoder.get("patch_size")}: it reconstructs '
            f'{drawn.shape[-2]} x {drawn.shape[-1]} pixels of a view of {size[0]} x {size[1]}; leave it out, it is '
            'inferred'
        )
