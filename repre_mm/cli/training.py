"""The training of a command line: its arguments, and the Runner that they ask for."""

from __future__ import annotations

import argparse

from mmengine.runner import Runner

from repre_mm.cli.arguments import add_common_arguments, add_encoder_options, add_transfer_arguments, positive
from repre_mm.cli.config import checked_config, start_weights
from repre_mm.distributed.processes import started_again
from repre_mm.engine.initial_weights import start_from
from repre_mm.engine.launch import build_runner
from repre_mm.engine.resilience.lock import lock_work_dir
from repre_mm.engine.resilience.vis_backend import LOGGERS


def training_parser() -> argparse.ArgumentParser:
    """The arguments of ``tools/train.py``."""
    parser = argparse.ArgumentParser(description='Train a model from a config.')
    add_common_arguments(parser)
    parser.add_argument('--resume', action='store_true', help='continue from the newest valid checkpoint in --work-dir')
    parser.add_argument('--check', action='store_true', help='validate config and data, and say what a training needs')
    parser.add_argument('--measure', action='store_true', help='with --check: time ten steps on this machine')
    parser.add_argument(
        '--logger', nargs='+', default=[], choices=[*LOGGERS], help='log to these, too; a failing one ends no training'
    )
    group = parser.add_argument_group('changes of the config, with all that depends on them')
    group.add_argument('--epochs', type=positive, metavar='N', help='length of the training; all schedules follow')
    group.add_argument(
        '--batch-size', type=positive, metavar='N', help='images per step, over all processes; the rate follows'
    )
    group.add_argument('--method', help='take the config of another method: mocov3, dino, simclr, ...')
    group = add_transfer_arguments(parser)
    group.add_argument(
        '--pretrained',
        metavar='CHECKPOINT',
        help='initial weights of the encoder: a checkpoint or released file, CONFIG:CHECKPOINT, or timm:MODEL:FILE '
        '(default: random)',
    )
    group = parser.add_argument_group('pre-training that goes on from an encoder')
    group.add_argument(
        '--init-from',
        metavar='CHECKPOINT',
        help='initial weights of the online and the target encoder: as for --pretrained, or the work dir of a run',
    )
    group = parser.add_argument_group('the encoder in a checkpoint')
    add_encoder_options(group, timm=True)
    return parser


def prepare_training(args: argparse.Namespace) -> Runner:
    """Check everything, lock the work dir, build the Runner and fill its encoder.

    Args:
        args: Of :func:`training_parser`.

    Returns:
        A Runner on which only ``train()`` is left to call.

    Raises:
        UserError: Config, data, checkpoint or an option is wrong.
    """
    cfg = checked_config(args)
    cfg.resume = args.resume or started_again()
    lock_work_dir(cfg.work_dir)
    # The config that the work dir keeps says what its training started from.
    cfg.update({key: getattr(args, key) for key in ('pretrained', 'init_from') if getattr(args, key)})
    runner = build_runner(cfg)
    path, options, network = start_weights(cfg, args)
    runner.logger.info(f'encoder: {network}')
    start_from(runner, path, **options)
    return runner
