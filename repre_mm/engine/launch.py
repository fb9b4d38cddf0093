"""Build a Runner from a command line: read the config, apply the arguments, check the data."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import shorten
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from repre_mm.datasets import DatasetError
from repre_mm.datasets.index import keep_indexes
from repre_mm.distributed.processes import init_distributed
from repre_mm.engine.adapt import set_length
from repre_mm.engine.checks.image_folders import folder_faults, image_folders
from repre_mm.engine.device_augment import augment_on_device
from repre_mm.engine.hooks.online_probe import label_for_probe
from repre_mm.engine.runner import ResumableRunner
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError, plain_message
from repre_mm.utils.package import find_config, load_config


def read_config(args: argparse.Namespace) -> Config:
    """Read a config and apply the command line, except for its data.

    Raises:
        UserError: There is no such config, mmengine cannot read it, or it has no use for an option.
    """
    path = find_config(args.config)
    try:
        cfg = load_config(path)
    except Exception as error:  # a config is a program
        place = f', line {error.lineno}' if isinstance(error, SyntaxError) else ''
        raise UserError(
            f'the config {path} cannot be read{place}: {type(error).__name__}: {plain_message(error)}. Compare it with '
            'one under configs/'
        ) from error
    try:
        cfg.merge_from_dict(args.cfg_options or {})
    except Exception as error:  # mmengine's own, of several classes
        raise UserError(
            f'--cfg-options {" ".join(args.cfg_options)}: {shorten(plain_message(error), 200)}. Name keys as the '
            'config does, with numbers for the places in lists: default_hooks.knn.interval=5'
        ) from error
    if args.amp:
        if not isinstance(cfg.get('optim_wrapper'), dict):
            raise UserError(f'--amp: {path} has no optim_wrapper, so it trains nothing')
        cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
        for key in ('loss_scale', 'dtype'):
            cfg.optim_wrapper.pop(key, None)
    set_decoding(cfg, getattr(args, 'decoding', {}))
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / path.stem)
    return cfg


def set_data_root(cfg: Config, root: str) -> None:
    """Set ``data_root`` and the root of every image folder of the config."""
    cfg.data_root = root
    for dataset in image_folders(cfg._cfg_dict):
        dataset.root = root


def set_decoding(cfg: Config, decoding: dict[str, Any]) -> None:
    """Say wherever the config reads images how to decode them; see :func:`repre_mm.datasets.read_image`."""
    for kind in ('ImageFolder', 'LoadImage', 'FastMultiView'):
        for node in find_nodes(cfg._cfg_dict, 'type', f'repre_mm.{kind}'):
            node.update(decoding)


def build_runner(cfg: Config) -> Runner:
    """Join the process group, if any, check the data, and build the Runner.

    Raises:
        DatasetError: A folder is missing or has no images; the message says how to name another.
    """
    init_distributed(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg'))
    cfg.__dict__['_format_python_code'] = is_main_process()  # four times half a second for a text that none reads
    keep_indexes(cfg.work_dir)
    for fault in folder_faults(cfg, sample=False):
        raise DatasetError(fault)
    if 'recipe' in cfg:
        set_length(cfg)
    augment_on_device(cfg)
    label_for_probe(cfg)
    runner = ResumableRunner.from_cfg(cfg)
    # One warning per frozen parameter of the target network would bury the others.
    runner.logger.addFilter(lambda record: 'since its requires_grad=False' not in record.getMessage())
    return runner
