"""Run the paper's ablations (RePre, Tables 4 and 5 and Figure 3), and others.

    python tools/ablation.py --data IMAGENET --gpus 8 --device cuda       # the paper's configs
    python tools/ablation.py --size toy [--seeds 0 1 2] [--epochs N]      # minutes per cell on a CPU, toy scenes
    python tools/ablation.py --config CONFIG --study levels weighting     # any RePre config

Every variant has the same data, encoder and budget, and is trained once per seed, even if several studies need it. The
same command continues a stopped run: finished cells are kept, an unfinished one resumes from its last epoch. The
results are ablation.md, ablation.json and, for the study 'features', gains.png in WORK_DIR.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_cfg_options
    from repre_mm.studies.ablation import BASES, STUDIES

    methods, archs = (list(dict.fromkeys(names)) for names in zip(*BASES['paper'], strict=True))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--study', nargs='+', choices=list(STUDIES), default=['features', 'fusion'], help='default: %(default)s'
    )
    parser.add_argument(
        '--size', choices=('paper', 'toy'), default='paper', help='of the configs (default: %(default)s)'
    )
    parser.add_argument(
        '--config', help='one RePre config to ablate instead: a file, or the name of one that comes with it'
    )
    parser.add_argument('--method', nargs='+', choices=methods, default=[], help='only these (default: all of a study)')
    parser.add_argument('--arch', nargs='+', choices=archs, default=[], help='only these (default: all of a study)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='default: %(default)s')
    parser.add_argument('--epochs', type=int, help="instead of the config's; schedules are shortened with it")
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='holds {train,val}/<class>/* (default with --size toy or --config: toy scenes, made where missing)',
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'), help='default: %(default)s')
    parser.add_argument('--gpus', type=int, default=1, help='processes of a training (default: %(default)s)')
    parser.add_argument('--device', default='cpu', help='for the scores (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='image loading processes of the scores')
    parser.add_argument('--k', type=int, default=20, help='neighbours of the kNN score (default: %(default)s)')
    add_cfg_options(parser, 'of every config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.studies.ablation import Settings, cells_of
    from repre_mm.studies.ablation_run import prepare, run
    from repre_mm.studies.ablation_tables import gains, report
    from repre_mm.studies.gains import gains_figure
    from repre_mm.toy_scenes import make_toy_scenes
    from repre_mm.utils.atomic import write_json, write_text
    from repre_mm.utils.errors import UserError

    with one_line_errors():
        if args.data is None:
            if args.size == 'paper' and args.config is None:
                raise UserError('--data DIR: name ImageNet-1K, or take --size toy')
            make_toy_scenes('data/toy_scenes')
            args.data = Path('data/toy_scenes/cls')
        names = ('size', 'epochs', 'gpus', 'k')
        common = {name: getattr(args, name) for name in names}
        settings = Settings(
            data=str(args.data), train_images=0, config=args.config, options=args.cfg_options or {}, **common
        )
        wanted = cells_of(settings, args.study, args.seeds, args.method, args.arch)
        settings, cells = prepare(settings, wanted, args.work_dir, ROOT / 'configs')
    try:
        run(settings, cells, args.work_dir, ROOT / 'configs', device=args.device, workers=args.workers)
    except KeyboardInterrupt:
        sys.exit('stopped: the same command continues')
    text = report(settings, args.study, cells)
    write_text(text, args.work_dir / 'ablation.md')
    rows = [{**cell._asdict(), 'base': list(cell.base), **scores} for cell, scores in cells.items()]
    write_json({'studies': args.study, 'cells': rows}, args.work_dir / 'ablation.json')
    pairs = gains(settings, cells)
    if pairs:
        gains_figure(pairs).savefig(args.work_dir / 'gains.png', dpi=150)
    print(f'\n{text}\n{args.work_dir}/ablation.md, ablation.json{", gains.png" if pairs else ""}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
