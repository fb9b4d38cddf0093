"""Score a checkpoint: ``python tools/test.py CONFIG CHECKPOINT [--data DIR] [--work-dir DIR]``.

Classification gets top-1 and top-5; detection box and mask mAP, segmentation mIoU and mAcc, both with predictions
drawn into ``WORK_DIR/pictures``. Pre-training gets kNN and a linear probe on frozen features, and the branch's mean L1
on validation images, with a picture of them.
"""

import argparse
import json
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_common_arguments, add_encoder_options, add_transfer_arguments

    parser = argparse.ArgumentParser(description='Score a checkpoint.')
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    add_encoder_options(parser)
    group = add_transfer_arguments(parser)
    group.add_argument('--split', metavar='NAME', help='split of --data to score (default: val)')
    group.add_argument('--pictures', type=int, default=16, metavar='N', help='images to draw (default: %(default)s)')
    group.add_argument(
        '--score-threshold',
        type=float,
        default=0.3,
        metavar='S',
        help='draw objects from this score (default: %(default)s)',
    )
    args = parser.parse_args()
    if not 0 <= args.score_threshold <= 1:
        parser.error(f'--score-threshold {args.score_threshold} must lie in [0, 1]')
    return args


def main() -> None:
    from mmengine.dist import is_main_process

    from repre_mm.cli.config import load_config
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.distributed.processes import init_distributed, leave_distributed
    from repre_mm.engine.launch import build_runner
    from repre_mm.evaluation.pretraining import evaluate_pretraining
    from repre_mm.transfer.loading import load_trained, name_damaged_files
    from repre_mm.transfer.predictions import PredictionPicturesHook
    from repre_mm.utils.configs import is_transfer, starts_from_encoder
    from repre_mm.utils.errors import UserError

    args = parse_args()
    with one_line_errors('the set-up', args.traceback):
        cfg = load_config(args)
        if not Path(args.checkpoint).is_file():
            raise UserError(f'no such checkpoint: {args.checkpoint}')
        if not starts_from_encoder(cfg):
            init_distributed(args.launcher, runner=False)
            options = {name: getattr(args, name) for name in ('amp', 'trust', 'prefix', 'network')}
            result = evaluate_pretraining(cfg, args.checkpoint, cfg.work_dir, **options)
            if is_main_process():
                print(json.dumps(result, indent=2))
            leave_distributed()
            return
        runner = build_runner(cfg)
        load_trained(runner.model, runner.cfg, args.checkpoint, trust=args.trust)
    result = {}
    if is_transfer(cfg):
        name_damaged_files(runner)
        result['pictures'] = str(Path(cfg.work_dir) / 'pictures')
        runner.register_hook(PredictionPicturesHook(result['pictures'], args.pictures, args.score_threshold))
    scores = {name: float(score) for name, score in runner.test().items()}
    if is_main_process():
        print(json.dumps({**scores, **result}, indent=2))
    leave_distributed()


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
