"""Score every method on toy scenes against random weights, over seeds: same data, encoder and views.

    python tools/benchmarks/methods.py --data data/toy_scenes [--epochs 8] [--seeds 0 1 2] [--methods moby repre_moby]
    python tools/benchmarks/methods.py --page docs/benchmarks/NAME.md

A run is one config of ``configs/toy`` (``NAME_vit-tiny_toy.py``) and one seed, trained as `repre train --epochs` does.
What is measured is kept in the work dir and not run again, so a stopped call resumes, and calls with other methods and
epochs add to it. --page writes the page of all of it and its JSON, and runs nothing.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('simclr', 'mocov3', 'moby', 'mocov2', 'dino')
RANDOM = 'random'
SCORES = {'knn_top1': 'kNN', 'linear_top1': 'linear'}


def parse_args() -> argparse.Namespace:
    known = [name for method in METHODS for name in (method, f'repre_{method}')]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('data/toy_scenes'), help='toy scenes; made where missing')
    parser.add_argument('--epochs', type=int, help="default: the configs' own")
    parser.add_argument('--methods', nargs='+', choices=known, default=METHODS)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--amp', action='store_true', help='bf16')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/benchmarks/methods'))
    parser.add_argument('--page', type=Path, metavar='FILE.md', help='write the page of what is there, and stop')
    return parser.parse_args()


def measure(name: str, seed: int, folder: Path, args: argparse.Namespace) -> dict:
    """Train one config, or nothing for ``'random'``, and score the encoder."""
    from mmengine.config import Config

    from repre_mm.engine.adapt import set_length
    from repre_mm.engine.launch import build_runner, set_data_root
    from repre_mm.evaluation import evaluate_config

    config = 'mocov3' if name == RANDOM else name
    cfg = Config.fromfile(ROOT / 'configs/toy' / f'{config}_vit-tiny_toy.py')
    set_data_root(cfg, str(args.data / 'cls'))
    row, checkpoint = {'name': name, 'seed': seed, 'epochs': 0}, RANDOM
    if name != RANDOM:
        cfg.launcher, cfg.work_dir, cfg.experiment_name = 'none', str(folder), f'{name}_{seed}'
        cfg.randomness.seed = seed
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)  # their time is in that of the process
        if args.amp:
            cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
        set_length(cfg, args.epochs)
        # Scores and pictures along the way would be in the time.
        cfg.default_hooks.update(knn=None, reconstruction=None)
        epochs = cfg.default_hooks.checkpoint.interval = cfg.train_cfg.max_epochs
        runner = build_runner(cfg)
        started = time.process_time()  # what else the machine does would be in the time on the clock
        runner.train()
        row |= {'epochs': epochs, 'amp': args.amp, 'minutes': round((time.process_time() - started) / 60, 2)}
        checkpoint = folder / f'epoch_{epochs}.pth'
    result = evaluate_config(cfg, checkpoint, seed=seed, knn_options={'k': [20]}, workers=0, progress=False)
    row['machine'] = f'{platform.machine()} CPU'
    return row | {'knn_top1': result['knn']['top1'][20], 'linear_top1': result['linear']['top1']}


def page(rows: list[dict], command: str) -> str:
    """All rows as Markdown: means over the seeds, and the distance from random weights, paired by seed."""
    from repre_mm.studies.results import markdown_table
    from repre_mm.studies.small.page import paired
    from repre_mm.utils.stack import stack_versions

    def spread(values: list[float]) -> str:
        return f'{statistics.mean(values):.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')

    found = {
        name: {row['seed']: row for row in rows if row['name'] == name}
        for name in dict.fromkeys(r['name'] for r in rows)
    }
    table = []
    for name in sorted(found, key=lambda one: (one != RANDOM, one.startswith('repre_'))):
        runs, random = found[name], found[RANDOM]
        length = ' or '.join(map(str, sorted({run['epochs'] for run in runs.values()})))
        minutes = '-' if name == RANDOM else f'{statistics.mean(run["minutes"] for run in runs.values()):.1f}'
        line = [name.replace('repre_', 'RePre, '), length, minutes, str(len(runs))]
        for score in SCORES:
            values = [run[score] for run in runs.values()]
            gains = [run[score] - random[seed][score] for seed, run in runs.items()]
            line += [
                spread(values),
                '-' if name == RANDOM else str(paired(gains)),
                '-' if name == RANDOM else f'{min(gains):+.1f}',
            ]
        table.append(line)
    columns = ['method', 'epochs', 'min', 'seeds']
    columns += [text for label in SCORES.values() for text in (label, f'{label} - random', 'worst seed')]
    precision = ' and '.join(sorted({'bf16' if row.get('amp') else 'fp32' for row in rows if row['name'] != RANDOM}))
    versions = ', '.join(f'{name} {version}' for name, version in stack_versions().items())
    return '\n'.join(
        [
            '# Methods on toy scenes against random weights',
            '',
            f'`{command}`',
            '',
            'A tiny ViT (4 blocks, width 128, 48 pixels, patches of 8), 4,000 training images, batch 64, '
            f'{precision}, {rows[0]["machine"]}, one thread. Scores on frozen features of 1,000 validation images, in '
            'percent; kNN: k = 20. Mean ± standard deviation over the seeds; differences: mean ± half of the 95 % '
            'interval (Student, paired by seed). min: processor time of one training, in minutes.',
            '',
            *markdown_table(columns, table),
            '',
            f'Versions: {versions}.',
            '',
        ]
    )


def main() -> None:
    args = parse_args()
    if args.page:
        rows = [json.loads(path.read_text()) for path in sorted(args.work_dir.glob('seed_*/*.json'))]
        args.page.write_text(page(rows, 'python tools/benchmarks/methods.py'))
        args.page.with_suffix('.json').write_text(json.dumps(rows, indent=2) + '\n')
        return
    from repre_mm.toy_scenes import make_toy_scenes

    make_toy_scenes(args.data)
    for seed in args.seeds:
        for name in (RANDOM, *args.methods):
            path = args.work_dir / f'seed_{seed}' / f'{name}.json'
            if not path.is_file():
                row = measure(name, seed, path.with_suffix(''), args)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(row))
            print(path.read_text(), flush=True)


if __name__ == '__main__':
    main()
