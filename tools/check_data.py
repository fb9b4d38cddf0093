"""Decode every image of a data set and name the damaged ones: ``python tools/check_data.py DATA [--json FILE]``.

``tools/train.py CONFIG --data DIR --check`` checks annotations of detection and segmentation. Exit status 1: too many
files are damaged, or a training would not start.
"""

import argparse
import json
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_decoding_arguments

    parser = argparse.ArgumentParser(description='Decode every image of a data set and name the damaged ones.')
    parser.add_argument(
        'data',
        metavar='DATA',
        help='a folder of images, a list (.txt, .csv), shards (.tar), .parquet, or a URL of these',
    )
    parser.add_argument(
        '--max-bad-share',
        type=float,
        metavar='SHARE',
        help='tolerated share of damaged files, in [0, 1] (default: 0.1)',
    )
    add_decoding_arguments(parser)
    parser.add_argument('--workers', type=int, help='number of processes (default: one per core)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all findings here')
    args = parser.parse_args()
    if args.max_bad_share is not None and not 0 <= args.max_bad_share <= 1:
        parser.error(f'--max-bad-share {args.max_bad_share} must lie in [0, 1]: 0.01 is 1 %')
    if args.workers is not None and args.workers < 1:
        parser.error(f'--workers {args.workers} must be at least 1')
    if args.json and not args.json.parent.is_dir():
        parser.error(f'--json {args.json}: there is no folder {args.json.parent}')
    return args


def main() -> None:
    args = parse_args()
    from repre_mm.datasets import DatasetError, open_source
    from repre_mm.datasets.damage import examine
    from repre_mm.datasets.image_folder import MAX_BAD_SHARE

    limit = MAX_BAD_SHARE if args.max_bad_share is None else args.max_bad_share
    try:
        source = open_source(args.data)
        entries = source.images()
        damaged = examine(source, entries, args.workers or len(os.sched_getaffinity(0)), **args.decoding)
    except DatasetError as error:
        sys.exit(f'error: {error}')
    share = len(damaged) / len(entries)
    if args.json:
        report = {'num_images': len(entries), 'damaged': damaged, 'others': source.passed_over}
        args.json.write_text(json.dumps(report, indent=2) + '\n')

    print(*damaged, sep='\n')
    print(f'{len(damaged):,} of {len(entries):,} images are damaged ({share:.2%})')
    if source.passed_over:
        kinds = ', '.join(f'{kind} {count:,}' for kind, count in source.passed_over.most_common())
        print(f'left out, not named as images: {kinds}')
    if share > limit:
        sys.exit(
            f'error: {share:.2%} are damaged, more than {limit:.2%}: repair or remove them, or raise --max-bad-share'
        )


if __name__ == '__main__':
    main()
