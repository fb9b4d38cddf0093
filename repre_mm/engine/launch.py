"""From a command line to a Runner: read the config, apply what the user asked for, check it, build."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import Runner

from repre_mm.datasets import DatasetError, ImageReadError
from repre_mm.datasets.image_folder import resolve_split
from repre_mm.datasets.listing import find_images, has_image
from repre_mm.engine.distributed import check_equal_batches, init_distributed
from repre_mm.engine.resume import ResumableRunner
from repre_mm.engine.transfer import is_transfer, set_up_transfer
from repre_mm.utils import plain_message


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that training and testing share."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs, checkpoints and pictures go (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--data', metavar='DIR', help="folder of data; replaces the config's data_root")
    parser.add_argument('--amp', action='store_true', help='bf16 autocast, on GPU and CPU')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
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
        ValueError: Options that the config has no use for.
    """
    path = Path(args.config)
    if not path.is_file():
        raise FileNotFoundError(f'no such config: {path}. The configs that come with the project are under configs/')
    cfg = Config.fromfile(path)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    classes, image_size = getattr(args, 'classes', None), getattr(args, 'image_size', None)
    if is_transfer(cfg):
        # A test needs no training data.
        set_up_transfer(cfg, args.data, classes, image_size, ('test',) if 'checkpoint' in args else ('train', 'val'))
    elif classes or image_size:
        raise ValueError(f'--classes and --image-size are for detection and segmentation; {path} pre-trains')
    elif args.data:
        set_data_root(cfg, args.data)
    if args.amp:
        cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
        for key in ('loss_scale', 'dtype'):
            cfg.optim_wrapper.pop(key, None)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / path.stem)
    return cfg


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


def dataset_configs(node: Any) -> Iterator[ConfigDict]:
    """Every ``repre_mm.ImageFolder`` in a config, wherever it stands (dataloaders, hooks, wrappers)."""
    if isinstance(node, dict):
        if node.get('type') == 'repre_mm.ImageFolder':
            yield node
        for value in node.values():
            yield from dataset_configs(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from dataset_configs(value)


def set_data_root(cfg: Config, root: str) -> None:
    """Point ``data_root`` and every image folder of the config to another place."""
    cfg.data_root = root
    for dataset in dataset_configs(cfg._cfg_dict):
        dataset.root = root


def check_data(cfg: Config) -> None:
    """Fail before anything is built when there is nothing to train on.

    Raises:
        DatasetError: The training folder is missing or holds no image; the message says how to name another.
    """
    for dataset in dataset_configs(cfg.get('train_dataloader')):
        root = Path(dataset.root).expanduser()
        if not root.is_dir():
            made = ', or make toy scenes with `python tools/make_toy_scenes.py data/toy_scenes`'
            raise DatasetError(
                f'the data folder {root} does not exist. Name yours with --data DIR'
                + (made if 'toy' in str(root) else '')
            )
        folder = resolve_split(root, dataset.get('split'))
        if not has_image(folder):
            find_images(folder)  # raises, saying what is there instead


def build_runner(cfg: Config) -> Runner:
    """Check the data, join the process group where there is one, build the Runner."""
    check_data(cfg)
    if cfg.launcher != 'none' and cfg.get('train_dataloader') and not is_transfer(cfg):
        check_equal_batches(cfg.train_dataloader)
    init_distributed(cfg.launcher)
    runner = ResumableRunner.from_cfg(cfg)
    # One warning per parameter of the target network, which never trains: they would bury the others.
    runner.logger.addFilter(lambda record: 'since its requires_grad=False' not in record.getMessage())
    return runner
