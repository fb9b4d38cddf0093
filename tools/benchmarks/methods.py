"""Score every method on toy scenes, plain and with RePre: same seed, data, encoder and budget.

    python tools/benchmarks/methods.py --data data/toy_scenes [--epochs 6] [--out docs/benchmarks/NAME.md]

Each row is one config of ``configs/toy``. Measured rows are kept in the work dir and not run again, so a stopped run
resumes. The last line of standard output is a JSON object with all rows.
"""

import argparse
import json
import platform
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('simclr', 'byol', 'mocov2', 'mocov3', 'simsiam', 'moby', 'dino')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Score every method on toy scenes, plain and with RePre.')
    parser.add_argument('--data', type=Path, default=Path('data/toy_scenes'), help='toy scenes; made where missing')
    parser.add_argument('--epochs', type=int, default=6)
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS)
    parser.add_argument('--amp', action='store_true', help='bf16')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/benchmarks/methods'))
    parser.add_argument('--out', type=Path, help='where the Markdown table goes')
    return parser.parse_args()


def measure(name: str, args: argparse.Namespace) -> dict:
    """Train one config and score its encoder."""
    from mmengine.config import Config

    from repre_mm.engine.launch import build_runner, set_data_root
    from repre_mm.evaluation import evaluate_config

    cfg = Config.fromfile(ROOT / 'configs/toy' / f'{name}_vit-tiny_toy.py')
    set_data_root(cfg, str(args.data / 'cls'))
    cfg.launcher, cfg.work_dir = 'none', str(args.work_dir / name)
    cfg.experiment_name = name
    cfg.randomness.seed = args.seed
    if args.amp:
        cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
    cfg.train_cfg.max_epochs = cfg.param_scheduler[-1].end = args.epochs
    # Scores and pictures along the way would be in the time.
    cfg.default_hooks.update(knn=None, reconstruction=None)
    cfg.default_hooks.checkpoint.interval = args.epochs
    runner = build_runner(cfg)
    started = time.process_time()  # what else the machine does would be in the time on the clock
    runner.train()
    seconds = (time.process_time() - started) / args.epochs
    checkpoint = args.work_dir / name / f'epoch_{args.epochs}.pth'
    row = {
        'name': name,
        'epochs': args.epochs,
        'seed': args.seed,
        'amp': args.amp,
        'seconds_per_epoch': round(seconds, 1),
    }
    return row | _scores(evaluate_config(cfg, checkpoint, knn_options={'k': [20]}))


def _scores(result: dict) -> dict:
    return {'knn_top1': result['knn']['top1'][20], 'linear_top1': result['linear']['top1']}


def measure_random(args: argparse.Namespace) -> dict:
    """Score the encoder that none has trained."""
    from mmengine.config import Config

    from repre_mm.evaluation import evaluate_config

    cfg = Config.fromfile(ROOT / 'configs/toy/mocov3_vit-tiny_toy.py')
    result = evaluate_config(cfg, 'random', args.data / 'cls', knn_options={'k': [20]})
    return {'name': 'random', 'epochs': 0, 'seed': args.seed} | _scores(result)


def cached(path: Path, make, wanted: dict) -> dict:
    """The row in ``path`` if it was measured with these settings, else a new one."""
    if path.is_file():
        row = json.loads(path.read_text())
        if wanted.items() <= row.items():
            return row
    row = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row))
    return row


def table(rows: list[dict], args: argparse.Namespace) -> str:
    """All rows as Markdown."""
    import torch

    from repre_mm.utils.stack import stack_versions

    precision = 'bf16' if args.amp else 'fp32'
    lines = [
        f'# Methods on toy scenes, {args.epochs} epochs, seed {args.seed}',
        '',
        f'`python tools/benchmarks/methods.py --epochs {args.epochs} --seed {args.seed}{" --amp" * args.amp}`',
        '',
        'Tiny ViT (4 blocks, width 128, 48 pixels), batch 64, '
        + f'{precision}, {platform.machine()} CPU, {torch.get_num_threads()} thread(s). '
        + 'Scores in percent, on frozen features. One seed: differences of about 2 points are noise. '
        + 'No method was tuned for this budget. Seconds are processor time of the training process.',
        '',
        '| method | kNN (k = 20) | linear probe | s per epoch | kNN + RePre | linear + RePre | s per epoch |',
        '|---|---|---|---|---|---|---|',
    ]
    by_name = {row['name']: row for row in rows}

    def cells(name: str) -> str:
        row = by_name[name]
        return f'{row["knn_top1"]:.1f} | {row["linear_top1"]:.1f} | {row["seconds_per_epoch"]:.1f}'

    for method in args.methods:
        lines.append(f'| {method} | {cells(method)} | {cells("repre_" + method)} |')
    random = by_name['random']
    lines.append(f'| random encoder | {random["knn_top1"]:.1f} | {random["linear_top1"]:.1f} | | | | |')
    versions = ', '.join(f'{name} {version}' for name, version in stack_versions().items())
    return '\n'.join([*lines, '', f'Versions: {versions}.', ''])


def main() -> None:
    args = parse_args()
    from repre_mm.toy_scenes import make_toy_scenes

    make_toy_scenes(args.data)
    rows = [cached(args.work_dir / 'random.json', lambda: measure_random(args), {'seed': args.seed})]
    for method in args.methods:
        for name in (method, 'repre_' + method):
            wanted = {'epochs': args.epochs, 'seed': args.seed, 'amp': args.amp}
            rows.append(cached(args.work_dir / f'{name}.json', lambda name=name: measure(name, args), wanted))
    text = table(rows, args)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    print(json.dumps(rows))


if __name__ == '__main__':
    main()
