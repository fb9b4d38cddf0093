"""Find keys of a config that nothing reads, and unknown types and arguments of what only the training builds."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from repre_mm.engine.checks.explain import accepted_arguments, find_type
from repre_mm.utils.configs import walk

# What is looked up, by its key, and not built: that needs the data, a Runner or a GPU.
_TABLES: dict[str, Registry] = {
    'dataset': registry.DATASETS,
    'sampler': registry.DATA_SAMPLERS,
    'train_cfg': registry.LOOPS,
    'val_cfg': registry.LOOPS,
    'test_cfg': registry.LOOPS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
}
_DATA_LOADER = {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'}
# Dictionaries that mmengine reads key by key, and passes over the keys that it does not know.
_FLAT = {
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), _DATA_LOADER),
}
#: Keys of a config that mmengine or this package reads.
READ_KEYS = {
    *inspect.signature(Runner).parameters,
    *('model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'compile'),  # mmengine's Runner, out of its config
    *('data_root', 'device_augment', 'init_from', 'pretrained', 'recipe'),
}
# Variables of the shipped configs -> what to use in their place.
_COMPUTED = {
    'epochs': 'use --epochs N',
    'warmup_epochs': 'set param_scheduler.0.end and param_scheduler.1.begin',
    'batch_size': 'use --batch-size N',
}
# Keys that mmengine takes out before it builds.
_TAKEN_OUT = {'type', '_scope_', 'by_epoch', 'constructor', 'paramwise_cfg'}
_NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def name_faults(cfg: Config) -> Iterator[str]:
    """Find unknown keys, and types and arguments of data sets, samplers and loops: ``PATH: what, and the fix``."""
    for key in cfg:
        if key not in READ_KEYS and (near := _near(key, READ_KEYS, cutoff=0.85)):
            yield f'{key}: nothing reads it; did you mean {near[0]}?'
    for key in _NEEDED:
        if not cfg.get(key):
            yield f'{key}: training needs it, and the config has none'
        elif not isinstance(cfg[key], dict):
            yield f'{key}={cfg[key]!r}: must be dict(type=...)'
    for key, known in _FLAT.items():
        node = cfg[key] if isinstance(cfg.get(key), dict) else {}
        for option in node.keys() - known:
            near = _near(str(option), known) or sorted(known)
            yield f'{key}.{option}: there is no such key; did you mean {" or ".join(near)}?'
        for part in ('dataset', 'sampler') if node and known is _DATA_LOADER else ():
            if part not in node:
                yield f'{key}.{part}: a data loader needs one, and the config has none'
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        for path, node in walk({key: value for key, value in cfg.items() if key != 'model'}):
            table = _TABLES.get(path.rpartition('.')[2])
            if table is not None and isinstance(node.get('type'), str):
                found = find_type(node['type'], table)
                if isinstance(found, str):
                    yield f'{path}.type: {found}'
                    continue
                known = accepted_arguments(found)
                for option in node.keys() - _TAKEN_OUT - known if known else ():
                    near = ''.join(f'; did you mean {name}?' for name in _near(str(option), known)[:1])
                    yield f'{path}.{option}: {found.__name__} takes no such argument{near}'
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


def _near(name: str, known: Iterable[Any], cutoff: float = 0.6) -> list[str]:
    by_case = {candidate.lower(): candidate for candidate in known}
    return [by_case[found] for found in difflib.get_close_matches(name.lower(), by_case, n=2, cutoff=cutoff)]
