"""Find types and keys in a config that nothing knows, and name the nearest that is known."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmpretrain.registry import BATCH_AUGMENTS
from torch.utils.data import DataLoader


@dataclass(frozen=True)
class _Kind:
    """What may stand in a place of a config.

    Attributes:
        registries: where its type is looked up.
        taken: keys that the Runner takes out before it builds.
        default: the type where none is named.
    """

    registries: tuple[Registry, ...]
    taken: frozenset[str] = frozenset()
    default: str | None = None


_HOOK = _Kind((registry.HOOKS,), frozenset({'priority'}))
_LOOP = _Kind((registry.LOOPS,), frozenset({'by_epoch'}))
_EVALUATOR = _Kind((registry.METRICS, registry.EVALUATOR))
_PART = _Kind((registry.MODELS, registry.TASK_UTILS, registry.WEIGHT_INITIALIZERS))

#: What the Runner builds from which key of the config.
_TOP = {
    'model': _PART,
    'data_preprocessor': _PART,
    'default_hooks': _HOOK,
    'custom_hooks': _HOOK,
    'train_cfg': _LOOP,
    'val_cfg': _LOOP,
    'test_cfg': _LOOP,
    'val_evaluator': _EVALUATOR,
    'test_evaluator': _EVALUATOR,
    'param_scheduler': _Kind((registry.PARAM_SCHEDULERS,), frozenset({'convert_to_iter_based'})),
    'optim_wrapper': _Kind((registry.OPTIM_WRAPPERS,), frozenset({'constructor', 'paramwise_cfg'}), 'OptimWrapper'),
    'model_wrapper_cfg': _Kind((registry.MODEL_WRAPPERS,)),
    'visualizer': _Kind((registry.VISUALIZERS,)),
    'log_processor': _Kind((registry.LOG_PROCESSORS,), default='LogProcessor'),
}
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# What stands below these is of another kind than what is above them.
_INNER = {
    'dataset': _Kind((registry.DATASETS,)),
    'datasets': _Kind((registry.DATASETS,)),
    'pipeline': _Kind((registry.TRANSFORMS,)),
    'transforms': _Kind((registry.TRANSFORMS,)),
    'sampler': _Kind((registry.DATA_SAMPLERS, registry.TASK_UTILS)),
    'batch_sampler': _Kind((registry.DATA_SAMPLERS,)),
    'collate_fn': _Kind((registry.FUNCTIONS,)),
    'worker_init_fn': _Kind((registry.FUNCTIONS,)),
    'optimizer': _Kind((registry.OPTIMIZERS,)),
    'vis_backends': _Kind((registry.VISBACKENDS,)),
    'augments': _Kind((BATCH_AUGMENTS,)),
}
# These name functions and layers of mmcv, or are read by their owners in ways of their own.
_UNCHECKED = {'roi_layer', 'nms', 'norm_cfg', 'act_cfg', 'conv_cfg', 'upsample_cfg', 'arch', 'metainfo', 'collate_fn'}
# Dictionaries that mmengine reads key by key, and passes over the keys that it does not know.
_FLAT = {
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'optim_wrapper.clip_grad': {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'},
}
_PARAMWISE = {
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'dwconv_decay_mult',
    'flat_decay_mult',
    'bypass_duplicate',
    'dcn_offset_lr_mult',
}
_LOADER = {'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn'}
_LOADER_KEYS = {
    *inspect.signature(DataLoader).parameters,
    *_LOADER,
    'num_batch_per_epoch',
    'disable_subprocess_warning',
}
_RUNNER_KEYS = {*inspect.signature(Runner).parameters, 'default_scope', 'device_augment', 'model_wrapper_cfg'}
_NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def name_faults(cfg: Config) -> Iterator[str]:
    """Find types that are not registered and keys that nothing takes, at any depth: ``PATH: what, and the fix``.

    Arguments of classes with ``**kwargs`` are judged where these go to the parent class, as of datasets; the others
    show when the class is built.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    for key in cfg:
        if key not in _RUNNER_KEYS and (near := _near(key, _RUNNER_KEYS, cutoff=0.85)):
            yield f'{key}: nothing reads it; did you mean {near[0]}?'
    for key in _NEEDED:
        if not cfg.get(key):
            yield f'{key}: training needs it, and the config has none'
    for key in (*_TOP, *_LOADERS):
        if key in cfg and not isinstance(cfg[key], (dict, list, tuple, type(None))):
            yield f'{key}={cfg[key]!r}: must be dict(type=...)'
    for key, kind in _TOP.items():
        default = kind.default
        if default and isinstance(cfg.get(key), dict):
            yield from _node_faults({'type': default, **cfg[key]}, key, kind, scope)
        else:
            yield from _faults(cfg.get(key), key, kind, scope)
    for key in _LOADERS:
        if isinstance(cfg.get(key), dict):
            yield from _loader_faults(cfg[key], key, scope)
    for path, known in _FLAT.items():
        yield from _unknown(_at(cfg, path), path, known)
    if not _at(cfg, 'optim_wrapper.constructor'):
        paramwise = _at(cfg, 'optim_wrapper.paramwise_cfg')
        yield from _unknown(paramwise, 'optim_wrapper.paramwise_cfg', _PARAMWISE)
        for name, options in ((paramwise or {}).get('custom_keys') or {}).items():
            # Others go into the optimizer's groups, for hooks such as SimSiamHook.
            for option in options.keys() - {'lr_mult', 'decay_mult'}:
                if near := _near(option, ('lr_mult', 'decay_mult'), cutoff=0.75):
                    path = f'optim_wrapper.paramwise_cfg.custom_keys[{name!r}].{option}'
                    yield f'{path}: nothing reads it; did you mean {near[0]}?'


def resolve(name: Any, registries: Iterable[Registry], scope: str) -> Callable | None:
    """Return what a type names in a scope, or None."""
    if not isinstance(name, str):
        return name if callable(name) else None
    return next((found for root in registries if (found := _look_up(name, root, scope)) is not None), None)


def _look_up(name: str, root: Registry, scope: str) -> Callable | None:
    if root is registry.FUNCTIONS:  # no project has its own
        return root.get(name)
    with root.switch_scope_and_registry(scope) as child:
        try:
            return child.get(name)
        except (RuntimeError, ImportError):  # a dotted name with no such module
            return None


def _loader_faults(loader: dict, path: str, scope: str) -> Iterator[str]:
    yield from _unknown(loader, path, _LOADER_KEYS)
    for key in ('dataset', 'sampler'):
        if key not in loader:
            yield f'{path}.{key}: a data loader needs one, and the config has none'
    for key in _LOADER & loader.keys():
        yield from _faults(loader[key], f'{path}.{key}', _INNER[key], scope)


def _faults(node: Any, path: str, kind: _Kind, scope: str) -> Iterator[str]:
    if isinstance(node, dict):
        yield from _node_faults(node, path, kind, scope)
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _faults(child, f'{path}.{index}', kind, scope)


def _node_faults(node: dict, path: str, kind: _Kind, scope: str) -> Iterator[str]:
    if 'type' in node:
        target = resolve(node['type'], kind.registries, scope)
        # Without a near name it may be no class of a registry; what must be one of the model's fails in building.
        if target is None and (kind is not _PART or _near_types(node['type'], kind.registries, scope)):
            yield f'{path}.type: {_unregistered(node["type"], kind.registries, scope)}'
        known = _arguments_of(target, inherited=kind is not _PART) if target is not None else None
        if known is not None:
            yield from _unknown(node, path, known | kind.taken | {'type', '_scope_'}, owner=target.__name__)
    if str(node.get('type')).endswith('Albu'):  # albumentations' own transforms are in no registry
        return
    for key, child in node.items():
        if key in _UNCHECKED:
            continue
        yield from _faults(child, f'{path}.{key}', _kind_below(key, kind), _scope_below(key, node, scope))


def _kind_below(key: str, kind: _Kind) -> _Kind:
    if key == 'sampler' and kind is _PART:  # of a detector: it picks regions, not images
        return _PART
    return _INNER.get(key, _PART if kind is _PART else kind)


def _scope_below(key: str, node: dict, scope: str) -> str:
    if '_scope_' in node:
        return node['_scope_']
    if str(node.get('type')) in ('repre_mm.RePreAlgorithm', 'RePreAlgorithm'):
        return 'mmpretrain' if key in ('algorithm', 'data_preprocessor') else 'repre_mm'
    return scope


def _arguments_of(target: Callable, inherited: bool) -> set[str] | None:
    """The names of the arguments of a class or function; None where it takes any, or is written in C.

    Args:
        target: A class or function.
        inherited: Take ``**kwargs`` of a constructor for those of the parent class.
    """
    owners = [owner for owner in target.__mro__[:-1] if '__init__' in vars(owner)] if inspect.isclass(target) else []
    names: set[str] = set()
    for function in [owner.__init__ for owner in owners] or [target]:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):
            return names - {'self'}
        if not inherited:
            return None
    return None


def _unknown(node: Any, path: str, known: set[str], owner: str = '') -> Iterator[str]:
    if not isinstance(node, dict):
        return
    for key in node:
        if key in known:
            continue
        near = _near(str(key), known)
        fix = f'did you mean {" or ".join(near)}?' if near else f'it takes {", ".join(sorted(known - {"_scope_"}))}'
        what = f'{owner} takes no such argument' if owner else 'there is no such key'
        yield f'{path}.{key}: {what}; {fix}'


def _unregistered(name: Any, registries: tuple[Registry, ...], scope: str) -> str:
    near = _near_types(name, registries, scope)
    hint = f'; did you mean {" or ".join(near)}?' if near else ': if it is yours, name its module in custom_imports'
    return f'{name!r} is not a registered {registries[0].name.replace("_", " ")}{hint}'


def _near_types(name: Any, registries: tuple[Registry, ...], scope: str) -> list[str]:
    """Registered names like this one, as a config of the scope writes them."""
    spelled: dict[str, str] = {}
    for root in registries:
        with root.switch_scope_and_registry(scope) as own:
            for spelling, found in _spellings(root, own):
                spelled.setdefault(found, spelling)
    tail = str(name).rpartition('.')[2]
    if tail in spelled:
        return [spelled[tail]]
    by_case = {found.lower(): found for found in spelled}
    near = difflib.get_close_matches(tail.lower(), by_case, n=3, cutoff=0.6)
    return [spelled[by_case[found]] for found in near]


def _spellings(root: Registry, own: Registry) -> Iterator[tuple[str, str]]:
    """(how a config of this scope writes it, its bare name) of all registered names; the scope's own ones first."""
    for table in (own, root):
        yield from ((name, name) for name in table.module_dict)
    for child in root.children.values():
        child.import_from_location()
        yield from ((f'{child.scope}.{name}', name) for name in child.module_dict)


def _near(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    by_case = {str(candidate).lower(): str(candidate) for candidate in known}
    return [by_case[found] for found in difflib.get_close_matches(name.lower(), by_case, n=2, cutoff=cutoff)]


def _at(cfg: Config, path: str) -> Any:
    node: Any = cfg
    for key in path.split('.'):
        node = node.get(key) if hasattr(node, 'get') else None
    return node
