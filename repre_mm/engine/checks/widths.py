"""Build the model without memory for its weights, and try a step on fake tensors to see whether its parts fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch.overrides import TorchFunctionMode

from repre_mm.datasets import DatasetError, view_sizes
from repre_mm.engine.checks.explain import failing_layer
from repre_mm.engine.checks.sizes import global_batch
from repre_mm.engine.hooks.momentum import take_over_averages
from repre_mm.models.losses import FixedWeighting
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.selfsup.dino import DINO
from repre_mm.models.selfsup.ema import CosineEMA
from repre_mm.models.taps import encoder_levels

_ALLOCATING = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
# An operator without a version for fake tensors, a forward that takes more than maps, a step that depends on values.
_CANNOT_TELL = (
    NotImplementedError,
    TypeError,
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
    fake_tensor.UnsupportedOperatorException,
)
_HEADS = ('head', 'decode_head', 'auxiliary_head', 'rpn_head', 'bbox_head')


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


@contextmanager
def fake_tensors(model: nn.Module) -> Iterator[None]:
    """Let a model of :func:`build_without_memory` compute on fake tensors, which have shapes and no numbers."""
    take_over_averages(model)
    if isinstance(model, RePreAlgorithm):
        model.loss_weighting = FixedWeighting()  # others compare values
    with (
        warnings.catch_warnings(),
        fake_tensor.FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch('torch.equal', return_value=True),
        mock.patch.object(fake_tensor.log, 'disabled', True),  # it prints a traceback for shapes that do not fit
    ):
        warnings.simplefilter('ignore')  # RePre's tap compares data pointers, which fake tensors do not have
        model.to_empty(device='cpu')
        for module in model.modules():
            if isinstance(module, CosineEMA):
                module._count = 1
            elif isinstance(module, DINO):
                module.epoch = 0
            elif hasattr(module, 'queue_ptr'):
                module.queue_ptr = torch.tensor([0])  # whose value is known
        yield


def fake_loss(sizes: list[int], model: nn.Module, batch: int) -> Tensor:
    """Compute the loss of a step on a batch of square views of some sizes, within :func:`fake_tensors`."""
    views = [torch.empty(batch, 3, size, size) for size in sizes]
    return model.parse_losses(model(views, None, mode='loss'))[0]


def width_faults(cfg: Config, model: nn.Module) -> Iterator[str]:
    """Find parts that do not fit each other, the views or the batch, by a step without its backward pass.

    Of classifiers, segmentors and detectors encoder, neck and heads run; heads on regions do not.

    Args:
        cfg: The whole config.
        model: From :func:`build_without_memory`; not to be used afterwards.
    """
    batch, said = global_batch(cfg), ''
    try:
        with fake_tensors(model):
            if isinstance(model, (BaseSelfSupervisor, RePreAlgorithm)):
                sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
                # RePre itself refuses a view 1 like that.
                others = set(sizes) - ({sizes[0]} if isinstance(model, RePreAlgorithm) else set())
                yield from _cut_edges(sorted(others), model.backbone)
                said = f' in a step of {batch} images in views of {", ".join(map(str, sizes))} pixels'
                fake_loss(sizes, model, batch)
            else:
                _run_heads(cfg, model)
    except (DatasetError, *_CANNOT_TELL):
        return
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        yield (
            f'{failing_layer(error, model, "model")}{said}: set widths (in_channels, ...), sizes and batch that fit '
            'what comes before'
        )


def _cut_edges(sizes: list[int], backbone: nn.Module) -> Iterator[str]:
    """Find crops whose edges a ViT would leave out without a word, since its patches do not divide them."""
    try:
        strides = encoder_levels(backbone).strides
    except TypeError:  # of no known family
        return
    patch = max(strides[0])
    for size in sizes:
        if strides[0] == strides[-1] and size % patch:
            yield (
                f'train_dataloader.dataset.pipeline: a crop of {size} pixels is not divisible by the patch of {patch}: '
                f'choose {max(size // patch, 1) * patch}, or another patch_size of the backbone'
            )


def _run_heads(cfg: Config, model: nn.Module) -> None:
    pipeline = (cfg.train_dataloader.get('dataset') or {}).get('pipeline') or []
    crops = [step.get('crop_size') or step.get('scale') for step in pipeline if str(step.get('type')).endswith('Crop')]
    size = next(filter(None, reversed(crops)), 224)
    images = torch.empty(2, 3, *([size, size] if isinstance(size, int) else size[:2]))
    try:
        maps = model.eval().backbone(images)
    except Exception as error:  # the images may have another size or other channels
        raise NotImplementedError from error
    maps = model.neck(maps) if getattr(model, 'neck', None) is not None else maps
    for name in _HEADS:
        part = getattr(model, name, None)
        for head in part if isinstance(part, nn.ModuleList) else [part]:
            if head is not None:
                head(maps)
