"""Write a self-contained page on one or several trainings: ``python tools/report.py WORK_DIR... [--draw] [-o FILE]``.

It shows what the work dirs hold: curves, scores (*.json), pictures (*.png), tables (*.md); and for what is missing, the
command that makes it. --draw draws missing pictures first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write a self-contained page that compares trainings.')
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    parser.add_argument('-o', '--out', type=Path, help='the page (default: report.html in the first work dir)')
    parser.add_argument('--title', default='Pre-training report')
    parser.add_argument(
        '--draw', action='store_true', help="draw the missing pictures of every last checkpoint, from its config's data"
    )
    return parser.parse_args()


def draw_missing(runs: Sequence) -> None:
    """Draw the missing pictures of every run with a config and a checkpoint; report those that cannot be drawn."""
    from repre_mm.visualization.report import PICTURES, picture_kind

    missing = [
        (run, kind)
        for run in runs
        if run.config and run.checkpoint
        for kind in PICTURES
        if kind not in map(picture_kind, run.pictures) and (kind != 'reconstruction' or 'recon_l1' in run.curves)
    ]
    if not missing:
        return
    from repre_mm.cli.main import load_tool

    visualize = load_tool('visualize', 'repre_visualize')
    for number, (run, kind) in enumerate(missing, start=1):
        print(f'picture {number} of {len(missing)}: {kind} of {run.name}', flush=True)
        try:
            visualize.main([kind, str(run.config), str(run.checkpoint)])
        except SystemExit as stop:
            print(stop.code, file=sys.stderr)


def main() -> None:
    args = parse_args()
    # Nothing of the OpenMMLab stack, which takes seconds to load.
    from repre_mm.visualization.report import report_html
    from repre_mm.visualization.runs import read_runs

    out = args.out or Path(args.work_dirs[0]) / 'report.html'
    try:
        runs = read_runs(args.work_dirs)
        if not out.parent.is_dir():
            raise FileNotFoundError(f'--out {out}: there is no folder {out.parent}')
        if args.draw:
            draw_missing(runs)
            runs = read_runs(args.work_dirs)
        page = report_html(runs, args.title)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'error: {error}')
    draft = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
    draft.write_text(page, encoding='utf-8')
    draft.replace(out)
    print(f'{out} ({len(page) / 1e6:.1f} MB)')


if __name__ == '__main__':
    main()
