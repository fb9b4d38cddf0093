"""What is wrong with a config, all of it, before data and processes start.

Nothing is written, no weight is allocated, of the data only a sample is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from mmengine.config import Config

from repre_mm.engine.checks.image_folders import folder_faults
from repre_mm.engine.checks.names import name_faults
from repre_mm.engine.checks.paths import path_faults
from repre_mm.engine.checks.sizes import batch_faults, drop_last_faults, loader_faults
from repre_mm.engine.checks.trouble import built_class, first_line
from repre_mm.engine.checks.values import value_faults
from repre_mm.engine.checks.widths import build_without_memory, width_faults
from repre_mm.engine.device_augment import augment_on_device
from repre_mm.utils.errors import UserError

__all__ = ['ConfigError', 'config_faults', 'data_faults', 'raise_faults']


class ConfigError(UserError):
    """A config that cannot train; the message lists every fault that was found, with its place and the fix."""


def config_faults(cfg: Config) -> list[str]:
    """What is wrong with a config in itself, whatever the data.

    Types and keys that nobody knows, at any depth, with the nearest valid name; values that a constructor refuses;
    parts of the model that do not fit together; sizes of crops, batches and queues that cannot work. Where names are
    wrong, what would be built from them is not judged.

    Args:
        cfg: For training.

    Returns:
        One line for each fault; none for a sound config.
    """
    faults = [*name_faults(cfg), *loader_faults(cfg)]
    if not faults:
        faults += [*value_faults(cfg), *_device_faults(cfg), *_model_faults(cfg)]
    return faults


def data_faults(cfg: Config) -> list[str]:
    """What is wrong with the files and folders that a config names: missing, empty, damaged, or fewer than a batch."""
    faults = [*path_faults(cfg), *folder_faults(cfg)]
    return faults or list(drop_last_faults(cfg))


def raise_faults(name: str, faults: list[str]) -> None:
    """Raise all of them as one error, if there are any.

    Raises:
        ConfigError: There are.
    """
    if len(faults) == 1:
        raise ConfigError(f'{name}: {faults[0]}')
    if faults:
        raise ConfigError('\n  '.join([f'{len(faults)} things are wrong with {name}:', *faults]))


def _device_faults(cfg: Config) -> Iterator[str]:
    try:
        augment_on_device(copy.deepcopy(cfg))
    except ValueError as error:
        yield str(error)


def _model_faults(cfg: Config) -> Iterator[str]:
    try:
        model = build_without_memory(cfg)
    except NotImplementedError:  # an operator that has no version without memory: the real one will tell
        return
    except Exception as error:  # constructors of any project
        name = built_class(error)
        yield f'model: {name + ": " if name else ""}{first_line(error)}'
        return
    yield from width_faults(cfg, model)
    yield from batch_faults(cfg, model)
