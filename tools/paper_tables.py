"""Collect the scores of a folder in Tables 1 to 3 of the RePre paper, beside the paper's numbers.

python tools/paper_tables.py RESULTS_DIR [--out DIR]

RESULTS_DIR holds JSON files of tools/linear_eval.py --out and work dirs of tools/train.py (Mask R-CNN, SETR), at any
depth. Table 1 takes the best epoch, as the protocols' authors do. Cells of trainings that have not run stay empty;
scores that belong into no table are listed below. Writes paper_tables.md and, with at least one pair of scores,
gains.png (Figure 3).
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', type=Path, metavar='RESULTS_DIR')
    parser.add_argument('--out', type=Path, metavar='DIR', help='where the tables go (default: RESULTS_DIR)')
    args = parser.parse_args()
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.studies.gains import gains_figure
    from repre_mm.studies.paper_tables import collect, gains, tables
    from repre_mm.utils.atomic import write_text

    out = args.out or args.results
    with one_line_errors():
        results = collect(args.results)
    out.mkdir(parents=True, exist_ok=True)
    text = tables(results)
    write_text(text, out / 'paper_tables.md')
    pairs = gains(results)
    if pairs:
        gains_figure(pairs).savefig(out / 'gains.png', dpi=150)
    print(f'{text}\n{out / "paper_tables.md"}{", gains.png" if pairs else ""}')


if __name__ == '__main__':
    main()
