"""Build transforms, hooks and the optimizer to find types, arguments and values that mmengine would refuse later."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from mmengine import registry
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope, Registry
from torch import nn

from repre_mm.engine.checks.explain import explain, find_type
from repre_mm.utils.configs import walk

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def value_faults(cfg: Config) -> Iterator[str]:
    """Build what is cheap to build, and report what each constructor refuses: ``PATH: CLASS: why``."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        for path, node in walk({key: cfg.get(key) for key in _LOADERS}):
            for index, step in enumerate(node.get('pipeline') or ()):
                yield from _refused(f'{path}.pipeline.{index}', registry.TRANSFORMS, step)
        for key in ('default_hooks', 'custom_hooks'):
            hooks = cfg.get(key) or {}
            for name, hook in hooks.items() if isinstance(hooks, dict) else enumerate(hooks):
                if isinstance(hook, dict) and isinstance(hook.get('type'), str):
                    yield from _hook_faults(f'{key}.{name}', hook)
        optimizer = cfg.optim_wrapper.get('optimizer')
        if isinstance(optimizer, dict):
            weights = {'params': [nn.Parameter(torch.zeros(1))]}
            yield from _refused('optim_wrapper.optimizer', registry.OPTIMIZERS, optimizer, weights)


def _hook_faults(path: str, hook: dict) -> Iterator[str]:
    found = find_type(hook['type'], registry.HOOKS)
    if isinstance(found, str):
        yield f'{path}.type: {found}'
    elif found.__module__.startswith(('repre_mm.', 'mmengine.hooks.')):  # some others ask for the Runner's visualizer
        hook = {name: value for name, value in hook.items() if name != 'priority'}
        yield from _refused(path, registry.HOOKS, hook)


def _refused(path: str, builder: Registry, settings: dict, defaults: dict | None = None) -> Iterator[str]:
    if not isinstance(settings, dict):
        return
    try:
        builder.build(ConfigDict(copy.deepcopy(dict(settings))), default_args=defaults)
    except Exception as error:
        yield f'{path}: {explain(error)}'
