"""What is in a checkpoint, and does it fill a config's encoder?

python tools/inspect_checkpoint.py CHECKPOINT [--config CONFIG]
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What is in a checkpoint, and does it fill a config's encoder?")
    parser.add_argument('checkpoint', help='any file of weights: of this project, OpenMMLab, timm, torchvision, ...')
    parser.add_argument('--config', help='say what of its encoder the checkpoint fills; fails below 95 %%')
    parser.add_argument('--prefix', help="where the encoder is, if not where it is found ('' is the whole file)")
    parser.add_argument(
        '--source-grid', nargs=2, type=int, metavar=('ROWS', 'COLUMNS'), help='patches, where they are not square'
    )
    parser.add_argument('--trust', action='store_true', help='unpickle the file: it may run code; trusted only')
    return parser.parse_args()


def main() -> None:
    from mmengine.config import Config

    from repre_mm.checkpoint import CheckpointError, build_encoder, inspect_checkpoint, load_pretrained

    args = parse_args()
    try:
        for name, value in inspect_checkpoint(args.checkpoint, prefix=args.prefix, trust=args.trust).items():
            print(f'{name:<14} {value}')
        if args.config:
            if not Path(args.config).is_file():
                raise CheckpointError(f'there is no config {args.config}')
            encoder = build_encoder(Config.fromfile(args.config))
            report = load_pretrained(
                encoder, args.checkpoint, prefix=args.prefix, trust=args.trust, source_grid=args.source_grid
            )
            print(f'\n{type(encoder).__name__} of {args.config}\n{report.table(max_keys=20)}')
    except CheckpointError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
