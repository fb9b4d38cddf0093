"""Compare what eight loss weightings ask of the encoder, on the gradients that the small benchmark has measured.

    python tools/benchmarks/weightings.py docs/benchmarks/2026-12-01-small-benchmark.json --page docs/benchmarks/NAME.md

A weighting scales the gradient of each loss. So at a measured state of an encoder the pixels' share follows, for any
weighting, from the two norms and the ratio of its weights, and the cosine is the same for all. The states are those of
trainings with the shipped weighting; nothing is trained here.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import mean

import numpy as np

#: Of the recipes: the peak rate of the log-variances, and the share of the training that is warm-up.
PEAK, WARMUP, BETAS = 0.02, 0.1, (0.9, 0.999)
LABELS = {
    'free': 'uncertainty, from the losses (shipped)',  # as measured
    'zero': 'uncertainty, from 0',
    'bounded': 'uncertainty, at most 10 : 1',
    'dwa': 'dynamic weight averaging',
    **{f'fixed {ratio}': f'fixed, {ratio} : 1' for ratio in (1, 10, 30, 100)},
}


def ratios(curves: dict, steps: np.ndarray, total: int, epoch: int) -> dict[str, np.ndarray]:
    """Weight of the pixels over that of the contrastive loss, for each weighting at each of ``steps``."""
    every = np.arange(1, total + 1)
    losses = [np.interp(every, *curves[name]) for name in ('contrast', 'recon_l1')]
    free = np.exp(np.interp(steps, curves['weight_recon'][0], np.log(curves['weight_recon'][1])))
    free /= np.interp(steps, *curves['weight_contrast'])
    log_vars = [_adam(loss) for loss in losses]
    periods = [[loss[start : start + epoch].mean() for start in range(0, total, epoch)] for loss in losses]
    dwa = np.ones(total)
    for period in range(2, math.ceil(total / epoch)):
        contrast, recon = (means[period - 1] / means[period - 2] for means in periods)
        dwa[period * epoch : (period + 1) * epoch] = math.exp((recon - contrast) / 2)  # a softmax at temperature 2
    return {
        'free': free,
        'zero': np.exp(log_vars[0] - log_vars[1])[steps - 1],
        'bounded': np.minimum(free, 10.0),
        'dwa': dwa[steps - 1],
        **{f'fixed {ratio}': np.full(len(steps), float(ratio)) for ratio in (1, 10, 30, 100)},
    }


def _adam(loss: np.ndarray) -> np.ndarray:
    """Log-variance before each step, from 0, under Adam with warm-up and cosine; its gradient is 1 - exp(-s) loss."""
    value, first, second, warmup = 0.0, 0.0, 0.0, max(round(WARMUP * len(loss)), 1)
    values = []
    for step, one in enumerate(loss):
        values.append(value)
        progress = (step - warmup) / (len(loss) - warmup)
        rate = PEAK * (step / warmup if step < warmup else (1 + math.cos(math.pi * progress)) / 2)
        gradient = 1 - math.exp(-value) * one
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        unbiased = first / (1 - BETAS[0] ** (step + 1)), second / (1 - BETAS[1] ** (step + 1))
        value -= rate * unbiased[0] / (math.sqrt(unbiased[1]) + 1e-8)
    return np.array(values)


def measured(cell: dict) -> dict:
    """Steps, ratio of the unweighted gradient norms (blocks, steps), cosines (blocks, steps), ratios of weights."""
    curves, settings = cell['curves'], cell['settings']
    blocks = sorted(int(name.rpartition('_')[2]) for name in curves if name.startswith('grad_cosine_block_'))
    steps = np.array(curves['grad_cosine_block_1'][0])
    total = cell['cost']['steps']
    found = ratios(curves, steps, total, total // settings['epochs'])
    norms = [[curves[f'grad_norm_{loss}_block_{i}'][1] for i in blocks] for loss in ('recon', 'contrast')]
    raw = np.array(norms[0]) / np.array(norms[1]) / found['free']  # what the hook logs has the weights in it
    cosines = np.array([curves[f'grad_cosine_block_{i}'][1] for i in blocks])
    return {'steps': steps, 'raw': raw, 'cosines': cosines, 'ratios': found}


def shares(run: dict, weighting: str) -> np.ndarray:
    """The pixels' share of the gradient norm (blocks, steps), 0 to 1."""
    weighted = run['ratios'][weighting] * run['raw']
    return weighted / (1 + weighted)


def late(values: np.ndarray) -> np.ndarray:
    """Mean over the last half of the measurements."""
    return values[..., values.shape[-1] // 2 :].mean(axis=-1)


def draw(runs: dict[str, list[dict]], path: Path) -> None:
    """A row per method: ratio of weights, share at block 1, share by block at the end, cosine by block."""
    from matplotlib.figure import Figure

    from repre_mm.visualization.curves import COLOURS

    figure = Figure(figsize=(16, 3.4 * len(runs) + 0.8), layout='constrained')
    grid = figure.subplots(len(runs), 4, squeeze=False)
    for row, (method, seeds) in zip(grid, runs.items(), strict=True):
        steps = seeds[0]['steps']
        for index, name in enumerate(LABELS):
            style = {'color': [*COLOURS, 'black'][index], 'linestyle': '-' if index < 4 else '--', 'linewidth': 1.3}
            found = np.mean([shares(run, name) for run in seeds], axis=0)
            row[0].plot(steps, np.mean([run['ratios'][name] for run in seeds], axis=0), **style, label=LABELS[name])
            row[1].plot(steps, found[0], **style)
            row[2].plot(range(1, len(found) + 1), late(found), **style, marker='.')
        cosines = np.mean([run['cosines'] for run in seeds], axis=0)
        for block, values in enumerate(cosines):
            shade = block / (len(cosines) - 1)
            row[3].plot(steps, values, color=(0.1 + 0.75 * shade, 0.45 - 0.1 * shade, 0.75 - 0.6 * shade), linewidth=1)
        row[3].axhline(0, color='#8C8C8C', linewidth=0.8)
        titles = ('weight of the pixels : contrastive', "pixels' share at block 1", "pixels' share by block, late")
        for axes, title, label in zip(row, (*titles, 'cosine, blocks 1 (blue) to 6 (red)'), ('step',) * 4, strict=True):
            axes.set_title(f'{method}: {title}', fontsize=9, loc='left')
            axes.set_xlabel('block' if 'late' in title else label, fontsize=8)
            axes.tick_params(labelsize=8)
            axes.spines[['top', 'right']].set_visible(False)
        row[0].set_yscale('log')
        row[2].set_yscale('log')
        row[1].set_ylim(0, 1)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)


def page(runs: dict[str, list[dict]], source: Path, picture: str) -> str:
    """The page: what was done, a table per method, the figure."""
    from repre_mm.studies.results import markdown_table

    count = ', '.join(f'{len(seeds)} of {method}' for method, seeds in runs.items())
    lines = [
        '# Eight weightings: what each asks of the encoder',
        '',
        f'`python tools/benchmarks/weightings.py {source.as_posix()} --page docs/benchmarks/NAME.md`',
        '',
        'A weighting scales the gradient of each loss and does nothing else. So at a given state of the encoder the '
        "pixels' share of the gradient follows, for any weighting, from the norms of both gradients and the ratio of "
        'the weights; the cosine is the same for all. The norms are those that `GradientBalanceHook` measured at 40 '
        f'steps of the trainings with RePre of [the small benchmark]({source.stem}.md) ({count}), all with the shipped '
        'weighting: **what other weightings would have asked of the same encoder at the same step, not trainings with '
        'them**, which would lead elsewhere in time. Their weights at those steps are interpolated between logged '
        'ones. Uncertainty from 0 is Adam on the logged losses, with the rate of the recipe; dynamic averaging has '
        'periods of one epoch.',
        '',
        "Share of the gradient norm at each block, in percent, over the last half of the training; ratio: the pixels' "
        'weight over the contrastive one. Means over the seeds.',
        '',
    ]
    for method, seeds in runs.items():
        blocks = range(1, len(seeds[0]['raw']) + 1)
        rows = []
        for name, label in LABELS.items():
            curve = np.mean([run['ratios'][name] for run in seeds], axis=0)
            values = np.mean([late(shares(run, name)) for run in seeds], axis=0)
            rows.append([label, f'{curve[0]:.3g}', f'{curve[len(curve) // 4]:.3g}', f'{curve[-1]:.3g}'])
            rows[-1] += [f'{100 * value:.2g}' for value in values]
        needed = [mean(1 / late(run['raw'])[i - 1] for run in seeds) for i in blocks]
        rows.append(['*needed for half of the gradient*', '', '', '', *(f'{value:,.0f} : 1' for value in needed)])
        columns = ['weighting', 'ratio, start', 'at a quarter', 'end', *(f'block {i}' for i in blocks)]
        third = mean(needed[2] * late(run['raw'])[0] for run in seeds)
        lines += [f'## {method}', '', *markdown_table(columns, rows), '']
        lines += [
            f'To have half of the gradient at block 3 the pixels would need {needed[2]:,.0f} : 1; they would then have '
            f'{100 * third / (1 + third):.1f} % of that at block 1. The mean cosine over all blocks and steps is '
            f'{mean(run["cosines"].mean() for run in seeds):+.3f}.',
            '',
        ]
    return '\n'.join([*lines, f'![ratio of the weights, share by step and by block, cosine]({picture})', ''])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='what `small.py --page` wrote beside its page')
    parser.add_argument('--page', type=Path, required=True, metavar='FILE.md')
    args = parser.parse_args()
    runs: dict[str, list[dict]] = {}
    for cell in json.loads(args.source.read_text())['cells']:
        if cell['settings']['variant'] == 'default':
            runs.setdefault(cell['settings']['base'][0], []).append(measured(cell))
    picture = args.page.with_suffix('.png')
    draw(runs, picture)
    args.page.write_text(page(runs, args.source, picture.name))


if __name__ == '__main__':
    main()
