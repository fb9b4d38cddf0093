"""Build transforms, hooks and the optimizer to find values that their constructors refuse."""

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
        optimizer = cfg.optim_wrapper.get('optimizer')
        if isinstance(optimizer, dict):
            weights = {'params': [nn.Parameter(torch.zeros(1))]}
            yield from _refused('optim_wrapper.optimizer', registry.OPTIMIZERS, optimizer, weights)


def _builds_anywhere(hook: dict, scope: str) -> bool:
    """Whether a hook can be built without a Runner; some ask for its visualizer, for instance."""
    target = resolve(hook.get('type'), (registry.HOOKS,), scope)
    return getattr(target, '__module__', '').startswith(('repre_mm.', 'mmengine.hooks.'))


def _refused(path: str, builder: Registry, settings: Any, defaults: dict | None = None) -> Iterator[str]:
    if isinstance(settings, (list, tuple)):
        for index, child in enumerate(settings):
            yield from _refused(f'{path}.{index}', builder, child)
    if not isinstance(settings, dict):
        return
    try:
        builder.build(ConfigDict(copy.deepcopy(dict(settings))), default_args=defaults)
    except Exception as error:
        # One of the parts is to blame, unless each can be built by itself.
        parts = None if str(settings.get('type')).endswith('Albu') else settings.get('transforms')
        inner = list(_refused(f'{path}.transforms', builder, parts))
        yield from inner or [f'{path}: {explain(error)}']
