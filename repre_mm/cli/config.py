"""From a command line to a config in which nothing is known to be wrong."""

from __future__ import annotations

import argparse
import os

from mmengine.config import Config

from repre_mm.checkpoint import CheckpointError, build_encoder, load_pretrained
from repre_mm.distributed.processes import check_equal_batches
from repre_mm.engine.checks import config_faults, data_faults, raise_faults
from repre_mm.engine.launch import read_config, set_data_root
from repre_mm.transfer.settings import set_up_transfer
from repre_mm.utils.configs import is_transfer, starts_from_encoder
from repre_mm.utils.errors import UserError

# What each launcher sets for its processes.
_LAUNCHED_BY = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID'}


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the command line.

    Raises:
        FileNotFoundError: There is no such config.
        DatasetError: ``--data`` does not exist, or holds no data for a config of detection or segmentation.
        ValueError: The config is no Python that mmengine can run, or has no use for an option.
    """
    cfg = read_config(args)
    point_to_data(cfg, args)
    return cfg


def point_to_data(cfg: Config, args: argparse.Namespace) -> None:
    """Apply what the command line says of data; see :func:`load_config`."""
    classes, image_size = getattr(args, 'classes', None), getattr(args, 'image_size', None)
    if is_transfer(cfg):
        # A test needs no training data.
        set_up_transfer(cfg, args.data, classes, image_size, ('test',) if 'checkpoint' in args else ('train', 'val'))
    elif classes or image_size:
        raise UserError(f'--classes and --image-size are for detection and segmentation; {args.config} pre-trains')
    elif args.data:
        set_data_root(cfg, args.data)


def checked_config(args: argparse.Namespace) -> Config:
    """Read a training config, apply the command line, and check both, the data and the checkpoint to start from.

    Args:
        args: Of ``tools/train.py``.

    Returns:
        As :func:`load_config`.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: The config cannot be read.
        ConfigError: Anything else is wrong; all faults are listed.
    """
    cfg = read_config(args)
    faults = config_faults(cfg)
    sound = not faults
    try:
        point_to_data(cfg, args)
    except ValueError as error:
        faults.append(str(error))
    except (AttributeError, KeyError, TypeError):
        if sound:  # otherwise what is missing has been said
            raise
    else:
        faults += data_faults(cfg) if sound else []
        faults += _start_faults(cfg, args, sound)
    raise_faults(args.config, faults)
    return cfg


def _start_faults(cfg: Config, args: argparse.Namespace, sound: bool) -> list[str]:
    faults = []
    name = _LAUNCHED_BY.get(cfg.launcher)
    if name and name not in os.environ:
        faults.append(
            f'--launcher {cfg.launcher} needs the environment variable {name}: start the run with tools/dist_train.sh '
            'or tools/slurm_train.sh, or leave --launcher out'
        )
    if cfg.launcher != 'none' and sound and not is_transfer(cfg):
        try:
            check_equal_batches(cfg.train_dataloader)
        except ValueError as error:
            faults.append(str(error))
    if args.pretrained and sound and not starts_from_encoder(cfg):
        faults.append(f'--pretrained is for what follows pre-training; {args.config} pre-trains')
    elif sound and not args.resume and starts_from_encoder(cfg):
        path = args.pretrained or cfg.get('pretrained')
        try:
            if path:
                options = dict(trust=args.trust, prefix=args.prefix, source_grid=args.source_grid)
                load_pretrained(build_encoder(cfg), path, **options)
        except CheckpointError as error:
            faults.append(str(error))
    return faults
