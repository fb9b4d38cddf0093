"""Train from a config: ``python tools/train.py CONFIG [--data DIR] [--work-dir DIR] [--resume] [--amp]``."""

import argparse


def parse_args() -> argparse.Namespace:
    from repre_mm.engine.launch import add_common_arguments

    parser = argparse.ArgumentParser(description='Train a model from a config.')
    add_common_arguments(parser)
    parser.add_argument('--resume', action='store_true', help='go on from the last checkpoint in the work dir')
    return parser.parse_args()


def main() -> None:
    from repre_mm.engine.launch import build_runner, load_config, one_line_errors

    args = parse_args()
    with one_line_errors():
        cfg = load_config(args)
        cfg.resume = args.resume
        runner = build_runner(cfg)
    runner.train()


if __name__ == '__main__':
    main()
