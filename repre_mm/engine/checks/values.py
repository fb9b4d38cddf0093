"""Build transforms, hooks, optimizer and schedules to find values that their constructors refuse."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from mmengine import registry
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope, Registry
from torch import nn

from repre_mm.engine.checks.explain import explain
from repre_mm.engine.checks.names import resolve
from repre_mm.utils.configs import walk

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_EPOCH_LENGTH = 100  # needed to build a schedule, of no influence here


def value_faults(cfg: Config) -> Iterator[str]:
    """Build what is cheap to build, and report what each constructor refuses: ``PATH: CLASS: why``.

    Args:
        cfg: A config without faults of :func:`repre_mm.engine.checks.names.name_faults`.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    with DefaultScope.overwrite_default_scope(scope):
        for key in _LOADERS:
            for path, node in walk(cfg.get(key), key):
                if isinstance(node.get('pipeline'), (list, tuple)):
                    yield from _refused(f'{path}.pipeline', registry.TRANSFORMS, node.pipeline)
        for key in ('default_hooks', 'custom_hooks'):
            hooks = cfg.get(key) or {}
            for name, hook in hooks.items() if isinstance(hooks, dict) else enumerate(hooks):
                if isinstance(hook, dict) and _builds_anywhere(hook, scope):
                    hook = {name: value for name, value in hook.items() if name != 'priority'}
                    yield from _refused(f'{key}.{name}', registry.HOOKS, hook)
        yield from _schedule_faults(cfg)


def _builds_anywhere(hook: dict, scope: str) -> bool:
    """Whether a hook can be built without a Runner; some ask for its visualizer, for instance."""
    target = resolve(hook.get('type'), (registry.HOOKS,), scope)
    return getattr(target, '__module__', '').startswith(('repre_mm.', 'mmengine.hooks.'))


def _schedule_faults(cfg: Config) -> Iterator[str]:
    settings = cfg.optim_wrapper.get('optimizer')
    if not isinstance(settings, dict):
        return
    weights = [nn.Parameter(torch.zeros(1))]
    try:
        optimizer = registry.OPTIMIZERS.build(ConfigDict(settings), default_args={'params': weights})
    except Exception as error:
        yield f'optim_wrapper.optimizer: {explain(error)}'
        return
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    last = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.get('max_iters')
    for index, scheduler in enumerate(schedulers):
        # Not for multiplying schedulers, which change the optimizer: each gets one of its own.
        options = {'optimizer': copy.deepcopy(optimizer), 'epoch_length': _EPOCH_LENGTH}
        path = f'param_scheduler.{index}'
        begin, end = scheduler.get('begin', 0), scheduler.get('end', float('inf'))
        if begin >= end:
            yield f'{path}.end={end}: must be above begin={begin}'
            continue
        try:
            registry.PARAM_SCHEDULERS.build(ConfigDict(scheduler), default_args=options)
        except Exception as error:
            yield f'{path}: {explain(error)}'
            continue
        same_unit = scheduler.get('by_epoch', True) == bool(cfg.train_cfg.get('max_epochs'))
        if last and same_unit and begin >= last:
            yield f'{path}.begin={begin}: training ends at {last}, before this schedule begins'


def _refused(path: str, builder: Registry, settings: Any) -> Iterator[str]:
    if isinstance(settings, (list, tuple)):
        for index, child in enumerate(settings):
            yield from _refused(f'{path}.{index}', builder, child)
    if not isinstance(settings, dict):
        return
    try:
        builder.build(ConfigDict(copy.deepcopy(dict(settings))))
    except Exception as error:
        # One of the parts is to blame, unless each can be built by itself.
        parts = None if str(settings.get('type')).endswith('Albu') else settings.get('transforms')
        inner = list(_refused(f'{path}.transforms', builder, parts))
        yield from inner or [f'{path}: {explain(error)}']
