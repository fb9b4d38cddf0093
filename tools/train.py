"""Train from a config: ``python tools/train.py CONFIG [--data DIR] [--work-dir DIR] [--resume] [--amp] [--check]``.

A config of classification, detection or segmentation starts from a pre-trained encoder by ``--pretrained CHECKPOINT``,
pre-training goes on from one by ``--init-from CHECKPOINT``.
"""

import argparse


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import (
        add_common_arguments,
        add_encoder_options,
        add_transfer_arguments,
        positive,
    )

    parser = argparse.ArgumentParser(description='Train a model from a config.')
    add_common_arguments(parser)
    parser.add_argument('--resume', action='store_true', help='continue from the newest valid checkpoint in --work-dir')
    parser.add_argument('--check', action='store_true', help='validate config and data, and say what a training needs')
    parser.add_argument('--measure', action='store_true', help='with --check: time ten steps on this machine')
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
    group.add_argument(
        '--source-grid', nargs=2, type=int, metavar=('ROWS', 'COLUMNS'), help='its patches, where they are not square'
    )
    return parser.parse_args()


def main() -> None:
    from repre_mm.cli.config import checked_config, start_weights
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.distributed.processes import leave_distributed, started_again
    from repre_mm.engine.initial_weights import start_from
    from repre_mm.engine.launch import build_runner
    from repre_mm.engine.resilience.lock import lock_work_dir

    args = parse_args()
    with one_line_errors('the set-up', args.traceback):
        cfg = checked_config(args)
        if args.check:
            from repre_mm.engine.needs import training_needs

            print(f'{args.config}: no faults found\n{training_needs(cfg, args.measure)}')
            return
        cfg.resume = args.resume or started_again()
        lock_work_dir(cfg.work_dir)
        # The config that the work dir keeps says what its training started from.
        cfg.update({key: getattr(args, key) for key in ('pretrained', 'init_from') if getattr(args, key)})
        runner = build_runner(cfg)
        path, options, network = start_weights(cfg, args)
        runner.logger.info(f'encoder: {network}')
        start_from(runner, path, **options)
    with one_line_errors('the training', args.traceback):
        runner.train()
    leave_distributed()


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
