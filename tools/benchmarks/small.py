"""Compare plain methods with RePre on photographs, at a scale that a laptop can repeat.

    python tools/benchmarks/small.py --data DIR --seg DIR --parts DIR [--jobs 2]
    python tools/benchmarks/small.py --data DIR --seg DIR --parts DIR --page docs/benchmarks/NAME.md

A ViT of six blocks on images of 96 pixels; SimCLR and MoCo v3, plain and with RePre, three seeds. Both arms of a pair
see the same images and augmentations and take the same steps. Scores: kNN, linear probe, kNN on each block, and, where
the images are named, a linear head of segmentation and recognition of parts. It first prints what is to be done and how
long that takes. A cell is one process of one thread. The same command continues a stopped run: finished cells are kept,
an unfinished one resumes from its last epoch. --page writes a page of the finished cells, its figures and their JSON.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_cfg_options
    from repre_mm.studies.small.cells import METHODS, PLAIN, REPRE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', nargs='?', choices=['small'], help='of the benchmark: `repre bench small` is this one')
    parser.add_argument('--data', required=True, metavar='DIR', help='photographs: {train,val}/<class>/*')
    parser.add_argument('--seg', metavar='DIR', help="segmentation, in Cityscapes' layout, with label ids from 0")
    parser.add_argument(
        '--parts', metavar='DIR', help='parts: {train,val}/* and annotations/parts_{train,val}.json (COCO)'
    )
    parser.add_argument('--methods', nargs='+', default=list(METHODS), metavar='METHOD', help='default: %(default)s')
    parser.add_argument(
        '--arms',
        nargs='+',
        default=[PLAIN, REPRE],
        metavar='VARIANT',
        help=f'variants of tools/ablation.py; {PLAIN} is the plain method (default: %(default)s)',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: %(default)s')
    parser.add_argument('--epochs', type=int, default=4, help='default: %(default)s')
    parser.add_argument('--k', type=int, default=20, help='neighbours of all kNN scores (default: %(default)s)')
    parser.add_argument('--jobs', type=int, default=1, help='cells at once, one thread each (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/small'), help='default: %(default)s')
    parser.add_argument('--page', type=Path, metavar='FILE.md', help='write the page of the finished cells, and stop')
    parser.add_argument(
        '--title',
        default='RePre against plain methods on photographs, at a small scale',
        help='of the page (default: %(default)s)',
    )
    parser.add_argument('--plan', action='store_true', help='print what would be done, and stop')
    add_cfg_options(parser, 'of every config')
    parser.add_argument('--cell', help=argparse.SUPPRESS)  # run this one here
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.studies.ablation import Settings
    from repre_mm.studies.small.cells import Bench, cells_of, plan, run_cell
    from repre_mm.studies.small.data import Sources
    from repre_mm.utils.errors import UserError

    with one_line_errors('the benchmark'):
        for name in ('epochs', 'k', 'jobs'):
            if getattr(args, name) < 1:
                raise UserError(f'--{name} {getattr(args, name)} must be positive')
        sources = Sources(args.data, args.seg, args.parts)
        cells = cells_of(args.methods, args.arms, args.seeds)
        images = sources.check()
        settings = Settings('small', args.data, images, epochs=args.epochs, k=args.k, options=args.cfg_options or {})
        bench = Bench(settings, sources, args.work_dir, ROOT / 'configs')
        if args.cell:
            run_cell(bench, next(cell for cell in cells if str(cell.folder) == args.cell))
            return
        if args.page:
            from repre_mm.studies.small.page import write_page

            write_page(bench, cells, args.page, args.title)
            return
        print(plan(bench, cells, args.jobs), flush=True)
        if not args.plan:
            left = [cell for cell in cells if bench.result(cell) is None]
            run_all([(str(cell.folder), bench.file(cell).with_name('cell.log')) for cell in left], args.jobs)


def run_all(cells: list[tuple[str, Path]], jobs: int) -> None:
    """Run cells (name, log file) in processes of their own, ``jobs`` at once, in order."""
    from repre_mm.utils.errors import UserError

    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}
    running: dict[str, tuple[Any, Path, float]] = {}
    waiting = list(cells)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, log = waiting.pop(0)
                log.parent.mkdir(parents=True, exist_ok=True)
                command = [sys.executable, __file__, *sys.argv[1:], '--cell', name]
                with log.open('a') as file:
                    process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
                running[name] = process, log, time.monotonic()
            time.sleep(0.2)
            for name, (process, log, start) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                if process.returncode:
                    raise UserError(f'cell {name} ended with status {process.returncode}: {log} says why')
                print(f'{name}: {(time.monotonic() - start) / 60:.1f} min, {len(waiting)} more to start', flush=True)
    except KeyboardInterrupt:
        sys.exit('stopped: the same command continues')
    finally:
        for process, _, _ in running.values():
            process.terminate()
            process.wait()


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
