"""Find types that are not registered and keys that nothing reads, and name the nearest that exist."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmpretrain.registry import BATCH_AUGMENTS
from torch.utils.data import DataLoader

from repre_mm.utils.configs import walk

Registries = tuple[Registry, ...]

_PART = (registry.MODELS, registry.TASK_UTILS, registry.WEIGHT_INITIALIZERS)
_EVALUATOR = (registry.METRICS, registry.EVALUATOR)
# What the Runner builds from which key of the config.
_TOP: dict[str, Registries] = {
    'model': _PART,
    'data_preprocessor': _PART,
    'default_hooks': (registry.HOOKS,),
    'custom_hooks': (registry.HOOKS,),
    'train_cfg': (registry.LOOPS,),
    'val_cfg': (registry.LOOPS,),
    'test_cfg': (registry.LOOPS,),
    'val_evaluator': _EVALUATOR,
    'test_evaluator': _EVALUATOR,
    'param_scheduler': (registry.PARAM_SCHEDULERS,),
    'optim_wrapper': (registry.OPTIM_WRAPPERS,),
    'model_wrapper_cfg': (registry.MODEL_WRAPPERS,),
    'visualizer': (registry.VISUALIZERS,),
    'log_processor': (registry.LOG_PROCESSORS,),
    'train_dataloader': (),
    'val_dataloader': (),
    'test_dataloader': (),
}
# What stands below these keys is looked up elsewhere than what is above them.
_INNER: dict[str, Registries] = {
    'dataset': (registry.DATASETS,),
    'datasets': (registry.DATASETS,),
    'pipeline': (registry.TRANSFORMS,),
    'transforms': (registry.TRANSFORMS,),
    'sampler': (registry.DATA_SAMPLERS,),
    'batch_sampler': (registry.DATA_SAMPLERS,),
    'optimizer': (registry.OPTIMIZERS,),
    'vis_backends': (registry.VISBACKENDS,),
    'augments': (BATCH_AUGMENTS,),
}
_DEFAULT_TYPES = {'optim_wrapper': 'OptimWrapper', 'log_processor': 'LogProcessor'}
# Keys that mmengine takes out before it builds.
_TAKEN_OUT = {'type', '_scope_', 'priority', 'by_epoch', 'convert_to_iter_based', 'constructor', 'paramwise_cfg'}
# These name functions and layers of mmcv, or are read by their owners in ways of their own.
_UNCHECKED = {'roi_layer', 'nms', 'norm_cfg', 'act_cfg', 'conv_cfg', 'upsample_cfg', 'arch', 'metainfo', 'collate_fn'}
# Dictionaries that mmengine reads key by key, and passes over the keys that it does not know.
_FLAT = {
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
}
_DATA_LOADER = {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'}
#: Keys of a config that mmengine or this package reads.
READ_KEYS = {
    *inspect.signature(Runner).parameters,
    'default_scope',
    'device_augment',
    'data_root',
    'init_from',
    'pretrained',
    'recipe',
}
# Variables of the shipped configs -> what to use in their place.
_COMPUTED = {
    'epochs': 'use --epochs N',
    'warmup_epochs': 'set param_scheduler.0.end and param_scheduler.1.begin',
    'batch_size': 'use --batch-size N',
}
_NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def name_faults(cfg: Config) -> Iterator[str]:
    """Find types that are not registered and keys that nothing takes, at any depth: ``PATH: what, and the fix``.

    Arguments of models with ``**kwargs`` are not judged; building the model shows those that nothing takes.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    for key in cfg:
        if key not in READ_KEYS and (near := _near(key, READ_KEYS, cutoff=0.85)):
            yield f'{key}: nothing reads it; did you mean {near[0]}?'
    for key in _NEEDED:
        if not cfg.get(key):
            yield f'{key}: training needs it, and the config has none'
    for key, registries in _TOP.items():
        value = cfg.get(key)
        if not isinstance(value, (dict, list, tuple, type(None))):
            yield f'{key}={value!r}: must be dict(type=...)'
        elif not registries:
            yield from _loader_faults(value, key)
        elif isinstance(value, dict) and key in _DEFAULT_TYPES:
            value = {'type': _DEFAULT_TYPES[key], **value}
        yield from _faults(value, key, registries, scope)
    for key, known in _FLAT.items():
        yield from _unknown(cfg.get(key), key, known)
    for path, node in walk(cfg.get('optim_wrapper'), 'optim_wrapper'):
        # Keys of an own meaning go into the optimizer's groups, for hooks such as SimSiamHook.
        for option in node.keys() - {'lr_mult', 'decay_mult'}:
            if '.custom_keys.' in path and (near := _near(option, ('lr_mult', 'decay_mult'), cutoff=0.75)):
                yield f'{path}.{option}: nothing reads it; did you mean {near[0]}?'


def option_faults(cfg: Config, options: Iterable[str]) -> Iterator[str]:
    """Find options that change a variable of the config file, from which the file has computed its settings already.

    Args:
        cfg: The config with the options in it.
        options: Their keys: ``train_cfg.max_epochs``.
    """
    if cfg.get('custom_imports'):  # own code may read them
        return
    for option in options:
        key = option.partition('.')[0]
        if key not in READ_KEYS and not _near(key, READ_KEYS, cutoff=0.85):
            fix = _COMPUTED.get(key, 'set what is computed from it, or change the config file')
            yield f'--cfg-options {option}: nothing reads {key} any more once the config is read; {fix}'


def resolve(name: Any, registries: Registries, scope: str) -> Callable | None:
    """Return what a type names in a scope, or None."""
    if not isinstance(name, str):
        return name if callable(name) else None
    for root in registries:
        with root.switch_scope_and_registry(scope) as child:
            try:
                found = child.get(name)
            except (RuntimeError, ImportError):  # a dotted name with no such module
                continue
        if found is not None:
            return found
    return None


def _loader_faults(loader: Any, path: str) -> Iterator[str]:
    yield from _unknown(loader, path, _DATA_LOADER)
    for key in ('dataset', 'sampler'):
        if loader and key not in loader:
            yield f'{path}.{key}: a data loader needs one, and the config has none'


def _faults(node: Any, path: str, registries: Registries, scope: str) -> Iterator[str]:
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _faults(child, f'{path}.{index}', registries, scope)
    if not isinstance(node, dict):
        return
    if 'type' in node:
        yield from _type_faults(node, path, registries, scope)
        if str(node['type']).endswith('Albu'):  # albumentations' own transforms are in no registry
            return
    for key, child in node.items():
        if key in _UNCHECKED:
            continue
        # A detector's sampler picks regions, not images.
        below = registries if key == 'sampler' and registries is _PART else _INNER.get(key, registries)
        yield from _faults(child, f'{path}.{key}', below, _scope_below(key, node, scope))


def _type_faults(node: dict, path: str, registries: Registries, scope: str) -> Iterator[str]:
    name = node['type']
    target = resolve(name, registries, scope)
    if target is None:
        near = _near_types(name, registries, scope)
        # In a model it may be no class of a registry; what must be one fails in building.
        if near or registries is not _PART:
            hint = f'; did you mean {" or ".join(near)}?' if near else ': if it is yours, import it in custom_imports'
            yield f'{path}.type: {name!r} is not a registered {registries[0].name.replace("_", " ")}{hint}'
    elif known := arguments_of(target, inherited=registries is not _PART):
        yield from _unknown(node, path, known | _TAKEN_OUT, owner=target.__name__)


def _scope_below(key: str, node: dict, scope: str) -> str:
    if str(node.get('type')).rpartition('.')[2] == 'RePreAlgorithm':
        return 'mmpretrain' if key in ('algorithm', 'data_preprocessor') else 'repre_mm'
    return node.get('_scope_', scope)


def arguments_of(target: Callable, inherited: bool) -> set[str] | None:
    """Return the names of the arguments of a class or function; None where it takes any, or is written in C.

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
    for key in node if isinstance(node, dict) else ():
        if key not in known:
            near = _near(str(key), known)
            fix = f'did you mean {" or ".join(near)}?' if near else f'it takes {", ".join(sorted(known - _TAKEN_OUT))}'
            yield f'{path}.{key}: {f"{owner} takes no such argument" if owner else "there is no such key"}; {fix}'


def _near_types(name: Any, registries: Registries, scope: str) -> list[str]:
    """Find registered names like this one, as a config of the scope writes them."""
    spelled: dict[str, str] = {}  # bare name -> as the config writes it
    for root in registries:
        with root.switch_scope_and_registry(scope) as own:
            for table in (own, root, *root.children.values()):
                table.import_from_location()
                prefix = '' if table in (own, root) else f'{table.scope}.'
                for found in table.module_dict:
                    spelled.setdefault(found, prefix + found)
    tail = str(name).rpartition('.')[2]
    return [spelled[tail]] if tail in spelled else [spelled[found] for found in _near(tail, spelled, count=3)]


def _near(name: str, known: Iterable[str], cutoff: float = 0.6, count: int = 2) -> list[str]:
    by_case = {candidate.lower(): candidate for candidate in known}
    return [by_case[found] for found in difflib.get_close_matches(name.lower(), by_case, n=count, cutoff=cutoff)]
