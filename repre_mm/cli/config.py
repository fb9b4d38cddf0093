"""Turn a command line into a config: read it, apply the options, check everything before a training."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config

from repre_mm.checkpoint import build_encoder, load_pretrained
from repre_mm.datasets import DatasetError
from repre_mm.datasets.index import forget_indexes, keep_indexes
from repre_mm.distributed.processes import check_launcher, checked_by_another
from repre_mm.engine.adapt import set_batch_size, set_encoder, set_length
from repre_mm.engine.checks import config_faults, data_faults, raise_faults
from repre_mm.engine.launch import read_config, set_data_root
from repre_mm.engine.resilience.vis_backend import add_loggers
from repre_mm.evaluation.encoders import RANDOM, EncoderName
from repre_mm.transfer.settings import set_up_transfer
from repre_mm.utils.configs import is_transfer, starts_from_encoder
from repre_mm.utils.errors import UserError
from repre_mm.utils.package import find_config


def load_config(args: argparse.Namespace) -> Config:
    """Read a config and apply the command line.

    Raises:
        UserError: There is no such config, it cannot be read, or has no use for an option.
        DatasetError: ``--data`` does not exist, or holds no data for a config of detection or segmentation.
    """
    cfg = read_config(args)
    _point_to_data(cfg, args)
    return cfg


def checked_config(args: argparse.Namespace) -> Config:
    """Read a training config, apply the command line, and check config, data and the checkpoint to start from.

    Under torchrun the first process of each machine checks; the others wait for it when they join.

    Args:
        args: Of ``tools/train.py``.

    Raises:
        UserError: There is no such config, or it cannot be read.
        ConfigError: The config, the data or an option is wrong; all faults are listed.
    """
    if args.method:
        args.config = str(config_of_method(args.config, args.method))
    cfg = read_config(args)
    cfg.resume = args.resume
    add_loggers(cfg, args.logger)
    faults: list[str] = []
    with suppress(AttributeError, KeyError, TypeError):  # of a config with faults, which are found next
        faults = _faults_of(_change_model, cfg, args)
    check = not checked_by_another(cfg.launcher)
    raise_faults(args.config, [*faults, *(config_faults(cfg, args.cfg_options or ()) if check else ())])
    faults = _faults_of(_point_to_data, cfg, args)
    if not args.check:
        keep_indexes(cfg.work_dir)
    if not faults and (args.epochs or 'recipe' in cfg):
        with suppress(DatasetError):  # reported by data_faults
            faults = _faults_of(set_length, cfg, args.epochs)
    if check and not faults:
        faults = [*data_faults(cfg), *_faults_of(check_launcher, cfg.launcher), *_start_faults(cfg, args)]
    if faults:
        forget_indexes()
    raise_faults(args.config, faults)
    return cfg


def config_of_method(name: str, method: str) -> Path:
    """Find the config that differs from another only by its method, by its name.

    Args:
        name: Path or name of a config called ``[repre_]METHOD_...``.
        method: The other method, such as ``dino``.

    Raises:
        UserError: There is none.
    """
    path = find_config(name)
    own = path.stem.removeprefix('repre_').split('_')[0]
    folder = path.parent.parent / method if path.parent.name == own else path.parent
    config = folder / path.name.replace(own, method, 1)
    if not config.is_file():
        raise UserError(f'--method {method}: there is no config {config}; choose from those beside {path}')
    return config


def _change_model(cfg: Config, args: argparse.Namespace) -> None:
    """Apply ``--encoder timm:MODEL`` and ``--batch-size``."""
    if str(args.network).startswith('timm:'):
        if starts_from_encoder(cfg):
            raise UserError(f'--encoder {args.network} is for pre-training; take online or target here')
        set_encoder(cfg, args.network)
        args.network = None
    if args.batch_size:
        set_batch_size(cfg, args.batch_size)


def _point_to_data(cfg: Config, args: argparse.Namespace) -> None:
    """Apply what the command line says of the data; print what a config of detection or segmentation finds there."""
    options = {name: getattr(args, name, None) for name in ('classes', 'image_size', 'masks', 'ignore_label', 'split')}
    if is_transfer(cfg):
        split = options.pop('split')
        if split and not args.data:
            raise UserError(f'--split {split} goes with --data DIR')
        # A test needs no training data.
        loaders = ('test',) if 'checkpoint' in args else ('train', 'val')
        found = set_up_transfer(cfg, args.data, loaders=loaders, test_split=split or 'val', **options)
        if int(os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0) == 0:
            print('\n'.join(found), flush=True)
        return
    given = [f'--{name.replace("_", "-")}' for name, value in options.items() if value is not None]
    if given:
        raise UserError(f'{" and ".join(given)}: for detection and segmentation only')
    if args.data:
        set_data_root(cfg, args.data)


def _faults_of(check: Callable, *args: Any, **options: Any) -> list[str]:
    try:
        check(*args, **options)
    except UserError as error:
        return [str(error)]
    return []


def _start_faults(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Find a checkpoint to start from that the encoder cannot take, by filling an encoder of its own with it."""
    if args.pretrained and not starts_from_encoder(cfg):
        return [f'--pretrained is for fine-tuning, detection and segmentation: write --init-from {args.pretrained}']
    if args.init_from and starts_from_encoder(cfg):
        return [f'--init-from is for pre-training: write --pretrained {args.init_from}']
    if args.resume:
        return []

    def fill() -> None:
        path, options, _ = start_weights(cfg, args)
        if path:
            load_pretrained(build_encoder(cfg), path, **options)

    return _faults_of(fill)


def start_weights(cfg: Config, args: argparse.Namespace) -> tuple[str | None, dict[str, Any], str]:
    """Find what the encoder of a config starts from: ``--pretrained``, or ``--init-from`` in pre-training.

    Without the option it is the config's ``pretrained`` or ``init_from``.

    Returns:
        The file (None for random weights), options of :func:`repre_mm.checkpoint.load_pretrained`, and which network
        of the file it is, for people.

    Raises:
        UserError: There is no such file or network.
    """
    name = args.pretrained or args.init_from or cfg.get('pretrained') or cfg.get('init_from') or RANDOM
    if name == RANDOM:
        return None, {}, 'random weights'
    encoder = EncoderName.parse([name])
    path, network = encoder.file, encoder.network(prefix=args.prefix, network=args.network, trust=args.trust)
    options = {'prefix': network.prefix, 'trust': args.trust}
    return path, options, network.reason
