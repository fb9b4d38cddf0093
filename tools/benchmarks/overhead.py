"""What the reconstruction branch costs: every pre-training config with and without it.

    python tools/benchmarks/overhead.py [--steps 5] [--batch 8] [--configs GLOB ...] [--out docs/benchmarks/NAME]

Multiply-adds are counted in one training step at the config's own image size. With ``--steps`` the step is timed too,
plain and RePre in turn, and on a GPU the peak of memory is read; medians are reported. Configs that differ in their
number of epochs alone cost the same and are counted once. ``--out`` gets a ``.md`` and a ``.json``. The last line of
standard output is a JSON object with the key ratios.
"""

import argparse
import json
import os
import platform
import re
import statistics
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE_FIELDS = ('encoder_params', 'params', 'step_macs')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure what the reconstruction branch costs.')
    parser.add_argument('--configs', nargs='+', default=['configs/pretrain/*/repre_*.py'], help='RePre configs, globs')
    parser.add_argument('--steps', type=int, default=0, help='timed steps of each model; 0 counts only')
    parser.add_argument('--batch', type=int, default=8, help='images in a timed step')
    parser.add_argument('--out', type=Path, help='path of the .md and .json, without suffix')
    return parser.parse_args()


def pairs(globs: list[str]) -> dict[str, Path]:
    """Name without batch and epochs -> the RePre config; the plain one is its namesake without ``repre_``."""
    found = {}
    for pattern in globs:
        for path in sorted(ROOT.glob(pattern)):
            found.setdefault(_what_costs(path), path)
    if not found:
        raise SystemExit(f'error: no config matches {" ".join(globs)}')
    return found


def _what_costs(path: Path) -> str:
    from mmengine.config import Config

    from repre_mm.datasets import view_sizes

    name = re.sub(r'_\d+xb\d+.*', '', path.stem.removeprefix('repre_'))
    local = view_sizes(Config.fromfile(path).train_dataloader.dataset.pipeline)[2:]
    return name + (f' + {len(local)} x {local[0]}' if local else '')


def count(path: Path) -> dict:
    """Parameters and multiply-adds of a config."""
    from mmengine.config import Config

    from repre_mm.engine.cost import count_cost

    cost = count_cost(Config.fromfile(path))
    return {name: getattr(cost, name) for name in BASE_FIELDS}


class TimedModel:
    """A config's model and optimizer, stepping on random pixels."""

    def __init__(self, path: Path, batch: int) -> None:
        import torch
        from mmengine.config import Config
        from mmengine.logging import MessageHub
        from mmengine.registry import MODELS, DefaultScope

        from repre_mm.datasets import view_sizes
        from repre_mm.engine.hooks.momentum import take_over_averages
        from repre_mm.models.selfsup import CosineEMA

        cfg = Config.fromfile(path)
        MessageHub.get_instance('overhead').update_info('max_iters', 1000)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
        self.model.init_weights()
        take_over_averages(self.model)
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model.to(self.device)
        if self.device == 'cpu':
            from repre_mm.models.sync_batchnorm import sync_batchnorm_on_cpu

            sync_batchnorm_on_cpu(self.model)
        self.targets = [module for module in self.model.modules() if isinstance(module, CosineEMA)]
        for module in self.model.modules():
            if isinstance(module, CosineEMA):
                module.max_steps = 1000
            if hasattr(module, 'epoch'):
                module.epoch = 0
        self.views = [
            torch.randn(batch, 3, size, size, device=self.device)
            for size in view_sizes(cfg.train_dataloader.dataset.pipeline)
        ]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step(self) -> tuple[float, float]:
        """One training step: seconds, and on a GPU the peak of memory in GiB."""
        import torch

        if self.device == 'cuda':
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        loss, _ = self.model.parse_losses(self.model(self.views, None, mode='loss'))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for target in self.targets:
            target.step()
        if self.device == 'cuda':
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        return seconds, torch.cuda.max_memory_allocated() / 2**30 if self.device == 'cuda' else float('nan')


def time_pair(plain: Path, repre: Path, args: argparse.Namespace) -> dict:
    """Median seconds per step of both, taken in turn, and their ratio's median and range."""
    models = [TimedModel(path, args.batch) for path in (plain, repre)]
    for model in models:
        model.step()
    rounds = [[model.step() for model in models] for _ in range(args.steps)]
    ratios = sorted(r[1][0] / r[0][0] for r in rounds)
    return {
        'plain_seconds': statistics.median(r[0][0] for r in rounds),
        'repre_seconds': statistics.median(r[1][0] for r in rounds),
        'time_ratio': statistics.median(ratios),
        'time_ratio_range': [ratios[0], ratios[-1]],
        'memory_ratio': rounds[-1][1][1] / rounds[-1][0][1],
    }


def table(rows: list[dict], args: argparse.Namespace) -> str:
    """All rows as Markdown."""
    import torch

    from repre_mm.utils import stack_versions

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f'{os.cpu_count()}-core {platform.machine()}'
    )
    timed = 'time_ratio' in rows[0]
    gpu = timed and torch.cuda.is_available()
    lines = [
        '# Cost of the reconstruction branch',
        '',
        f'`python tools/benchmarks/overhead.py --steps {args.steps} --batch {args.batch}`, {device}, '
        f'{torch.get_num_threads()} thread(s), fp32.',
        '',
        'Multiply-adds (G) of one training step per image: all views, online and target encoder, forward and backward, '
        'heads. Parameters (M) of the encoder.',
        '',
        '| config | encoder | plain | with RePre | ratio |'
        + (' step time | range |' if timed else '')
        + (' peak memory |' if gpu else ''),
        '|---|---|---|---|---|' + ('---|---|' if timed else '') + ('---|' if gpu else ''),
    ]
    for row in rows:
        line = (
            f'| {row["name"]} | {row["plain"]["encoder_params"] / 1e6:.1f} | {row["plain"]["step_macs"] / 1e9:.1f} '
            f'| {row["repre"]["step_macs"] / 1e9:.1f} | {row["macs_ratio"]:.3f} |'
        )
        if timed:
            low, high = row['time_ratio_range']
            line += f' {row["time_ratio"]:.3f} | {low:.3f} to {high:.3f} |'
        if gpu:
            line += f' {row["memory_ratio"]:.3f} |'
        lines.append(line)
    versions = ', '.join(f'{name} {version}' for name, version in stack_versions().items())
    return '\n'.join([*lines, '', f'Versions: {versions}.', ''])


def main() -> None:
    args = parse_args()
    from tqdm import tqdm

    rows = []
    for name, repre in tqdm(pairs(args.configs).items(), unit='config'):
        plain = repre.with_name(repre.name.removeprefix('repre_'))
        row = {'name': name, 'plain': count(plain), 'repre': count(repre)}
        row['macs_ratio'] = row['repre']['step_macs'] / row['plain']['step_macs']
        if args.steps:
            row |= time_pair(plain, repre, args)
        rows.append(row)
    text = table(rows, args)
    print(text)
    ratios = [row['macs_ratio'] for row in rows]
    summary = {'mean_macs_ratio': round(statistics.mean(ratios), 4), 'max_macs_ratio': round(max(ratios), 4)}
    if args.steps:
        summary['mean_time_ratio'] = round(statistics.mean(row['time_ratio'] for row in rows), 4)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix('.md').write_text(text)
        args.out.with_suffix('.json').write_text(json.dumps({'summary': summary, 'rows': rows}, indent=2) + '\n')
    print(json.dumps(summary))


if __name__ == '__main__':
    main()
