"""One self-contained page of one training or several: ``python tools/report.py WORK_DIR... [-o report.html]``.

It shows what the work dirs hold: curves, scores (*.json), pictures (*.png, also of tools/visualize.py), tables (*.md).
For what is missing it names the command.
"""

import argparse
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write a self-contained page about trainings, compared.')
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    parser.add_argument('-o', '--out', type=Path, help='the page (default: report.html in the first work dir)')
    parser.add_argument('--title', default='Pre-training report')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Not the stack, which takes seconds to load: a page needs none of it.
    from repre_mm.visualization.report import report_html
    from repre_mm.visualization.runs import read_runs

    out = args.out or Path(args.work_dirs[0]) / 'report.html'
    try:
        runs = read_runs(args.work_dirs)
        if not out.parent.is_dir():
            raise FileNotFoundError(f'--out {out}: there is no folder {out.parent}')
        page = report_html(runs, args.title)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'error: {error}')
    draft = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
    draft.write_text(page, encoding='utf-8')
    draft.replace(out)
    print(f'{out} ({len(page) / 1e6:.1f} MB)')


if __name__ == '__main__':
    main()
