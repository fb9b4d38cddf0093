"""Score a checkpoint: ``python tools/test.py CONFIG CHECKPOINT [--data DIR] [--work-dir DIR]``.

A config with a test loop runs it. A pre-training config has none: its encoder is scored by kNN and a linear probe on
frozen features, and the branch by its mean L1 on validation images, with a picture of them.
"""

import argparse
import json
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.engine.launch import add_common_arguments

    parser = argparse.ArgumentParser(description='Score a checkpoint.')
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    return parser.parse_args()


def main() -> None:
    from repre_mm.engine.launch import build_runner, load_config, one_line_errors
    from repre_mm.evaluation.pretraining import evaluate_pretraining

    args = parse_args()
    with one_line_errors():
        cfg = load_config(args)
        if not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f'no such checkpoint: {args.checkpoint}')
        if cfg.get('test_cfg') is None:
            result = evaluate_pretraining(cfg, args.checkpoint, cfg.work_dir, amp=args.amp)
            print(json.dumps(result, indent=2))
            return
        cfg.load_from = args.checkpoint
        runner = build_runner(cfg)
    runner.test()


if __name__ == '__main__':
    main()
