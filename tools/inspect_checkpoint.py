"""Describe a checkpoint, and check that it fills a config's encoder.

python tools/inspect_checkpoint.py CHECKPOINT [--config CONFIG]
python tools/inspect_checkpoint.py ENCODER, named as for the other tools: CONFIG CHECKPOINT, or timm:MODEL:FILE
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_encoder_options

    parser = argparse.ArgumentParser(description="Describe a checkpoint, and check that it fills a config's encoder.")
    parser.add_argument(
        'encoder', nargs='+', metavar='ENCODER', help='any file of weights, CONFIG CHECKPOINT, or timm:MODEL:FILE'
    )
    parser.add_argument('--config', help='say what of its encoder the checkpoint fills; fails below 95 %%')
    add_encoder_options(parser)
    return parser.parse_intermixed_args()


def main() -> None:
    from repre_mm.checkpoint import build_encoder, inspect_checkpoint, load_pretrained
    from repre_mm.evaluation.encoders import EncoderName, load_frozen_encoder
    from repre_mm.utils.errors import UserError
    from repre_mm.utils.package import load_config

    args = parse_args()
    options = {name: getattr(args, name) for name in ('prefix', 'network', 'trust')}
    try:
        name = EncoderName.parse(args.encoder)
        path, network = name.file, name.network(**options)
        for title, value in inspect_checkpoint(path, prefix=network.prefix, trust=args.trust).items():
            print(f'{title:<14} {value}')
        print(f'{"evaluated":<14} {network.reason}')
        config = args.config or name.config_path
        if config:
            encoder = build_encoder(load_config(config))
            report = load_pretrained(encoder, path, prefix=network.prefix, trust=args.trust)
            print(f'\n{type(encoder).__name__} of {config}\n{report.table(max_keys=20)}')
        elif name.model:
            load_frozen_encoder(name, **options)  # says what it fills
    except UserError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
