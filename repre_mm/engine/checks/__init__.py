"""Validate a config before training: report every fault at once.

Nothing is written, no weights are allocated, and only a sample of the images is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

from mmengine.config import Config

from repre_mm.engine.checks.explain import explain
from repre_mm.engine.checks.image_folders import folder_faults
from repre_mm.engine.checks.names import name_faults, option_faults
from repre_mm.engine.checks.paths import path_faults
from repre_mm.engine.checks.schedule import drop_last_faults, resume_faults, schedule_faults, warmup_faults
from repre_mm.engine.checks.sizes import loader_faults
from repre_mm.engine.checks.values import value_faults
from repre_mm.engine.checks.widths import build_without_memory, width_faults
from repre_mm.engine.device_augment import augment_on_device
from repre_mm.utils.errors import UserError

__all__ = ['ConfigError', 'config_faults', 'data_faults', 'raise_faults']


class ConfigError(UserError):
    """A config that cannot train; the message lists every fault with its place and the fix."""


def config_faults(cfg: Config, options: Iterable[str] = ()) -> list[str]:
    """Find faults of a config that do not depend on the data.

    These are unknown types and keys, with the nearest valid name; values that a constructor refuses; schedules that do
    not end with the training; parts of the model that do not fit together; sizes of crops, batches and queues that
    cannot work. All but the first are checked once all names are right.

    Args:
        cfg: A training config.
        options: Keys that ``--cfg-options`` changed after the config was read.

    Returns:
        One line per fault; an empty list for a valid config.
    """
    faults = [*name_faults(cfg), *option_faults(cfg, options), *loader_faults(cfg)]
    if not faults:
        faults += [*value_faults(cfg), *schedule_faults(cfg), *_device_faults(cfg), *_model_faults(cfg)]
    return faults


def data_faults(cfg: Config) -> list[str]:
    """Find what is missing, empty, damaged, too little for a batch or a warm-up, or cannot be resumed from."""
    faults = [*path_faults(cfg), *folder_faults(cfg)]
    faults = faults or [*drop_last_faults(cfg), *warmup_faults(cfg)]
    return faults or (list(resume_faults(cfg)) if cfg.get('resume') else [])


def raise_faults(name: str, faults: list[str]) -> None:
    """Raise the faults as one error, if there are any.

    Args:
        name: The config's file.
        faults: From :func:`config_faults` and :func:`data_faults`.

    Raises:
        ConfigError: There is a fault.
    """
    if len(faults) == 1:
        raise ConfigError(f'{name}: {faults[0]}')
    if faults:
        raise ConfigError('\n  '.join([f'{len(faults)} faults in {name}:', *faults]))


def _device_faults(cfg: Config) -> Iterator[str]:
    try:
        augment_on_device(copy.deepcopy(cfg))
    except ValueError as error:
        yield str(error)


def _model_faults(cfg: Config) -> Iterator[str]:
    try:
        model = build_without_memory(cfg)
    except NotImplementedError:  # an operator without a version for `meta`
        return
    except Exception as error:  # constructors raise anything
        yield f'model: {explain(error)}'
        return
    yield from width_faults(cfg, model)
