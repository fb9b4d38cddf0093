"""Measure the cost of the reconstruction branch: every pre-training config with and without it.

    python tools/benchmarks/overhead.py [--rounds 5] [--batch 4] [--configs GLOB ...] [--out docs/benchmarks/NAME]

Multiply-adds are counted in one training step at the config's own image size. With ``--rounds`` steps are timed too,
plain and RePre in turn, each in a process of its own, and the peak of its memory is read. Configs that differ in their
number of epochs alone cost the same and are measured once. ``--out`` gets a ``.md`` and a ``.json``. The last line of
standard output is a JSON object with the key ratios.
"""

import argparse
import json
import logging
import math
import re
import statistics
from pathlib import Path

from report import command_line, describe, machine, publish, spread, table
from timed_model import TimedModel
from turns import Contestant, Desk, in_turn

ROOT = Path(__file__).resolve().parents[2]
BASE_FIELDS = ('encoder_params', 'params', 'step_macs')
#: Rows of docs/configs.md that the paper's table of linear evaluations does not have.
NOT_IN_THE_PAPER = ('simsiam', 'dino_swin')
LIMITS = {
    'macs': (1.04, 1.06),
    'time': (1.04, 1.06),
    'fastest_time': (1.04, 1.06),
    'branch_alone': (1.04, 1.06),
    'memory': (1.05, 1.06),
}  # of the mean and of each


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure what the reconstruction branch costs.')
    parser.add_argument('--configs', nargs='+', default=['configs/pretrain/*/repre_*.py'], help='RePre configs, globs')
    parser.add_argument('--rounds', type=int, default=0, help='timed steps of each model; 0 counts only')
    parser.add_argument('--batch', type=int, default=4, help='images in a timed step')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--precision', choices=['bf16', 'fp32'], default='bf16', help='bf16 is what the configs say')
    parser.add_argument('--out', type=Path, help='path of the .md and .json, without suffix')
    parser.add_argument('--serve', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def pairs(globs: list[str]) -> dict[str, list[Path]]:
    """Name without batch and epochs -> the RePre configs of that cost; the plain ones lack ``repre_``."""
    found: dict[str, list[Path]] = {}
    for pattern in globs:
        for path in sorted(ROOT.glob(pattern)):
            found.setdefault(_what_costs(path), []).append(path)
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
    """Parameters and multiply-adds of a config, and its batch per GPU."""
    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from repre_mm.engine.cost import count_cost

    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)  # a line for each parameter otherwise
    cfg = Config.fromfile(path)
    cost = count_cost(cfg)
    return {name: getattr(cost, name) for name in BASE_FIELDS} | {'batch': cfg.train_dataloader.batch_size}


def measure(plain: Path, repre: Path, args: argparse.Namespace, tick) -> dict:
    """Seconds per step of both, in turn, and their peaks of memory."""
    settings = {'batch': args.batch, 'device': args.device, 'precision': args.precision}
    both = {
        name: Contestant(__file__, {'config': str(path), **settings}, wait=False)
        for name, path in (('plain', plain), ('repre', repre))
    }
    gib = {}
    for name, model in both.items():
        gib[name] = model.ask(memory=args.batch)['gib']
        tick()
    answers = in_turn(both, args.rounds, tick, steps=1, branch=True)
    for model in both.values():
        model.end()
    seconds = {name: [answer['seconds'] for answer in values] for name, values in answers.items()}
    return {
        'seconds': seconds,
        'gib': gib,
        'branch': [answer['branch'] for answer in answers['repre']],
        'time_ratios': [r / p for r, p in zip(seconds['repre'], seconds['plain'], strict=True)],
        # Other work on the machine only adds to a step: the fastest steps are the least disturbed.
        'fastest_ratio': min(seconds['repre']) / min(seconds['plain']),
        'memory_ratio': gib['repre'] / gib['plain'],
    }


def with_branch(row: dict) -> float:
    """The plain step and the branch alone, over the plain step."""
    plain = row['seconds']['plain']
    return statistics.median(1 + branch / step for branch, step in zip(row['branch'], plain, strict=True))


def error_of_median(values: list[float]) -> float:
    """Standard error of a median, for values that scatter normally."""
    return math.sqrt(math.pi / 2 / len(values)) * statistics.stdev(values)


def to_rows(results: list[dict]) -> list[list[str]]:
    rows = []
    for row in results:
        plain, repre = row['plain'], row['repre']
        cells = [row['name'], f'{plain["encoder_params"] / 1e6:.1f}', f'{plain["params"] / 1e6:.1f}']
        cells += [f'{repre["params"] / 1e6:.1f}', f'{plain["step_macs"] / 1e9:.1f}', f'{repre["step_macs"] / 1e9:.1f}']
        cells.append(f'{row["macs_ratio"]:.3f}')
        if 'seconds' in row:
            cells += [f'{statistics.median(row["seconds"]["plain"]):.3f}', spread(row['time_ratios'])]
            cells += [f'{row["fastest_ratio"]:.3f}', f'{with_branch(row):.3f}']
            cells += [f'{row["gib"]["plain"]:.2f}', f'{row["memory_ratio"]:.3f}']
        rows.append(cells)
    return rows


def summarise(results: list[dict]) -> dict:
    """Means and maxima over the paper's configurations, each as often as the paper has it."""
    paper = [row for row in results if not row['name'].startswith(NOT_IN_THE_PAPER)] or results
    weights = [row['configs'] for row in paper]
    ratios = {'macs': [row['macs_ratio'] for row in paper]}
    if 'seconds' in paper[0]:
        ratios['time'] = [statistics.median(row['time_ratios']) for row in paper]
        ratios['fastest_time'] = [row['fastest_ratio'] for row in paper]
        ratios['branch_alone'] = [with_branch(row) for row in paper]
        ratios['memory'] = [row['memory_ratio'] for row in paper]
    summary: dict = {'configurations': sum(weights)}
    for name, values in ratios.items():
        summary[f'mean_{name}_ratio'] = round(statistics.fmean(values, weights), 4)
        summary[f'max_{name}_ratio'] = round(max(values), 4)
    if 'time' in ratios:
        errors = [error_of_median(row['time_ratios']) for row in paper]
        weighted = [weight * error for weight, error in zip(weights, errors, strict=True)]
        summary['error_of_mean_time_ratio'] = round(math.hypot(*weighted) / sum(weights), 4)
        summary['error_of_max_time_ratio'] = round(errors[ratios['time'].index(max(ratios['time']))], 4)
    return summary


def verdict(summary: dict) -> list[str]:
    """What was promised, and whether it holds."""
    lines = []
    for name, limits in LIMITS.items():
        if f'mean_{name}_ratio' not in summary:
            continue
        for which, limit in zip(('mean', 'max'), limits, strict=True):
            value, error = summary[f'{which}_{name}_ratio'], summary.get(f'error_of_{which}_{name}_ratio')
            shown = f'{value:.3f}' + (f' +- {error:.3f}' if error else '')
            lines.append(f'- {name}, {which}: {shown}, limit {limit:.2f}: {"kept" if value <= limit else "NOT KEPT"}')
    return lines


def main() -> None:
    args = parse_args()
    if args.batch < 2 or args.rounds == 1:
        raise SystemExit('error: BatchNorm needs a --batch of 2 at least, and the spread of the times 2 --rounds')
    if args.serve:
        desk = Desk()
        TimedModel(**args.serve).serve(desk)
    from tqdm import tqdm

    found, results = pairs(args.configs), []
    env = machine(args.device)
    with tqdm(total=len(found) * (1 + (2 * args.rounds + 2 if args.rounds else 0)), smoothing=0.05) as bar:
        for name, configs in found.items():
            bar.set_description(name)
            repre = configs[0]
            plain = repre.with_name(repre.name.removeprefix('repre_').replace('_fullwidth', ''))
            row = {'name': name, 'configs': len(configs), 'batch': args.batch}
            row |= {'plain': count(plain), 'repre': count(repre)}
            row['macs_ratio'] = row['repre']['step_macs'] / row['plain']['step_macs']
            bar.update()
            if args.rounds:
                row |= measure(plain, repre, args, bar.update)
            results.append(row)
            if args.rounds:
                bar.write(
                    f'{name}: time {spread(row["time_ratios"])}, fastest {row["fastest_ratio"]:.3f}, '
                    f'by the branch alone {with_branch(row):.3f}, memory {row["memory_ratio"]:.3f}'
                )
    summary = summarise(results)
    columns = ['config', 'encoder (M)', 'trained (M)', 'with RePre', 'multiply-adds (G)', 'with RePre', 'ratio']
    lines = [
        '# Cost of the reconstruction branch',
        '',
        command_line(),
        '',
        f'{describe(env)}',
        '',
        'Multiply-adds of one training step per image: all views, online and target encoder, forward and backward, '
        'heads. Parameters of the encoder, and all trained ones.',
    ]
    if args.rounds:
        columns += ['step (s)', 'ratio', 'ratio of the fastest', 'by the branch alone', 'peak memory (GiB)', 'ratio']
        lines += [
            '',
            f'Steps of {args.batch} images in {args.precision} on {args.device}: median of {args.rounds} rounds in '
            'which the plain method and RePre take turns, in brackets the least and the greatest ratio; '
            'then the ratio of the fastest steps, which other work on the machine disturbs least. "+-" is the standard '
            'error. "By the branch alone": its forward, backward and update on the levels of a step, timed by '
            'themselves after each step of RePre and added to the plain step: what is short scatters less than the '
            'difference of what is long.',
        ]
    lines += ['', f'Over the {summary["configurations"]} configurations of the paper:', '', *verdict(summary)]
    lines += ['', *table(columns, to_rows(results)), '']
    publish(args.out, '\n'.join(lines), {'machine': env, 'rows': results}, summary)


if __name__ == '__main__':
    main()
