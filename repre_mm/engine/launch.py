"""From a command line to a Runner: read the config, apply what the user asked for, check it, build."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from mmengine.config import Config
from mmengine.runner import Runner

from repre_mm.datasets import DatasetError, ImageReadError
from repre_mm.engine.device_augment import augment_on_device
from repre_mm.engine.distributed import check_equal_batches, init_distributed
from repre_mm.engine.image_folders import folder_faults, image_folders
from repre_mm.engine.resume import ResumableRunner
from repre_mm.engine.transfer import is_transfer, set_up_transfer
from repre_mm.utils import SettingsAction, plain_message


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that training and testing share."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs, checkpoints and pictures go (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--data', metavar='DIR', help="folder of data; replaces the config's data_root")
    parser.add_argument('--amp', action='store_true', help='bf16 autocast, on GPU and CPU')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=SettingsAction,
        metavar='KEY=VALUE',
        help='override config values, for instance train_dataloader.batch_size=64',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='how the processes were started'
    )
    # torchrun passes it as an argument in some versions and as a variable in all.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


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


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and apply what the command line says of anything but data; see :func:`load_config`."""
    path = Path(args.config)
    if not path.is_file():
        raise FileNotFoundError(f'no such config: {path}. The configs that come with the project are under configs/')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program
        place = f', line {error.lineno}' if isinstance(error, SyntaxError) else ''
        raise ValueError(
            f'the config {path} cannot be read{place}: {type(error).__name__}: {plain_message(error)}. Compare it with '
            'one under configs/'
        ) from error
    try:
        cfg.merge_from_dict(args.cfg_options or {})
    except Exception as error:  # mmengine's own, of several classes
        raise ValueError(
            f'--cfg-options {" ".join(args.cfg_options)}: {shorten(plain_message(error), 200)}. Name keys as the '
            'config does, with numbers for the places in lists: custom_hooks.0.interval=5'
        ) from error
    if args.amp:
        if not isinstance(cfg.get('optim_wrapper'), dict):
            raise ValueError(f'--amp: {path} has no optim_wrapper, so it trains nothing')
        cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
        for key in ('loss_scale', 'dtype'):
            cfg.optim_wrapper.pop(key, None)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / path.stem)
    return cfg


def point_to_data(cfg: Config, args: argparse.Namespace) -> None:
    """Apply what the command line says of data; see :func:`load_config`."""
    classes, image_size = getattr(args, 'classes', None), getattr(args, 'image_size', None)
    if is_transfer(cfg):
        # A test needs no training data.
        set_up_transfer(cfg, args.data, classes, image_size, ('test',) if 'checkpoint' in args else ('train', 'val'))
    elif classes or image_size:
        raise ValueError(f'--classes and --image-size are for detection and segmentation; {args.config} pre-trains')
    elif args.data:
        set_data_root(cfg, args.data)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line, not a traceback, when what is set up inside is wrong."""
    try:
        yield
    except (ValueError, KeyError, FileNotFoundError, ImageReadError) as error:
        sys.exit(f'error: {plain_message(error)}')
    except RuntimeError as error:
        # torch makes one of every error of a loading process whose class takes more than a message.
        if not str(error).startswith(f'Caught {ImageReadError.__name__} '):
            raise
        sys.exit(f'error: {plain_message(error)}')


def set_data_root(cfg: Config, root: str) -> None:
    """Point ``data_root`` and every image folder of the config to another place."""
    cfg.data_root = root
    for dataset in image_folders(cfg._cfg_dict):
        dataset.root = root


def check_data(cfg: Config) -> None:
    """Fail before anything is built when there is nothing to train on.

    Raises:
        DatasetError: The training folder is missing or holds no image; the message says how to name another.
    """
    for fault in folder_faults(cfg, sample=False):
        raise DatasetError(fault)


def build_runner(cfg: Config) -> Runner:
    """Check the data, join the process group where there is one, build the Runner."""
    check_data(cfg)
    augment_on_device(cfg)
    if cfg.launcher != 'none' and cfg.get('train_dataloader') and not is_transfer(cfg):
        check_equal_batches(cfg.train_dataloader)
    init_distributed(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg'))
    runner = ResumableRunner.from_cfg(cfg)
    # One warning per parameter of the target network, which never trains: they would bury the others.
    runner.logger.addFilter(lambda record: 'since its requires_grad=False' not in record.getMessage())
    return runner
