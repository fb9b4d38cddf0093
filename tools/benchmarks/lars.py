"""Time of an optimizer step with LARS: mmpretrain's and repre_mm's in turn, on the same parameters.

    python tools/benchmarks/lars.py [--device cuda] [--out docs/benchmarks/NAME.md]

The parameters are those of a whole encoder, the gradients random. Times are processor time of this process on a CPU,
and time on the clock with the device waited for elsewhere. The last line of standard output is a JSON object.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from report import write
from tqdm import tqdm

ENCODERS = {'ViT-S/16': 'vit_small_patch16_224', 'ResNet-50': 'resnet50'}
SETTINGS = dict(lr=0.1, momentum=0.9, weight_decay=1e-6)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare LARS with mmpretrain's.")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--steps', type=int, default=30, help='steps of each, in turn')
    parser.add_argument('--out', type=Path, help='where the Markdown goes; the JSON goes beside it')
    return parser.parse_args()


def make_step(kind: type[torch.optim.Optimizer], model: str, device: str) -> Callable[[], None]:
    """A step on parameters of its own, each in a group of its own, as ``paramwise_cfg`` makes them."""
    import timm

    torch.manual_seed(0)
    parameters = list(timm.create_model(model, num_classes=0).to(device).parameters())
    for p in parameters:
        p.grad = 1e-3 * torch.randn_like(p)
    optimizer = kind([dict(params=[p]) for p in parameters], **SETTINGS)
    optimizer.step()  # makes the buffers
    return optimizer.step


def seconds(step: Callable[[], None], device: str) -> float:
    clock = time.process_time if device == 'cpu' else time.perf_counter
    started = clock()
    step()
    if device != 'cpu':
        torch.cuda.synchronize()
    return clock() - started


def measure(model: str, device: str, steps: int) -> dict:
    """Milliseconds and their ratio, pair by pair: median, least, most."""
    from mmpretrain.engine import optimizers

    from repre_mm.engine import LARS

    kinds = {'mmpretrain': optimizers.LARS, 'repre_mm': LARS}
    calls = {name: make_step(kind, model, device) for name, kind in kinds.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in tqdm(range(steps), desc=model, unit='step'):
        for name, step in calls.items():
            times[name].append(1e3 * seconds(step, device))
    ratios = [slow / fast for slow, fast in zip(*times.values(), strict=True)]
    rows = {**times, 'ratio': ratios}
    return {name: [round(f(values), 2) for f in (statistics.median, min, max)] for name, values in rows.items()}


def to_markdown(result: dict) -> str:
    lines = [
        '# Time of a step with LARS',
        '',
        f'`python tools/benchmarks/lars.py --device {result["device"]} --steps {result["steps"]}`',
        '',
        'Milliseconds per step, all parameters of the encoder, fp32, one parameter per group. Median of '
        f'{result["steps"]} steps in turn, in brackets least to most. '
        '"Ratio": time of mmpretrain by ours, pair by pair.',
        '',
        f'{result["machine"]}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, '
        f'torch {torch.__version__}. Load average after measuring: {result["load_average"]}.',
        '',
        '| parameters of | mmpretrain LARS | repre_mm.LARS | ratio |',
        '|---|---|---|---|',
    ]
    for encoder, row in result['encoders'].items():
        cells = [f'{m:g} ({low:g} to {high:g})' for m, low, high in row.values()]
        lines.append(f'| {encoder} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    processor = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), 'unknown')
    encoders = {encoder: measure(model, args.device, args.steps) for encoder, model in ENCODERS.items()}
    result = {
        'device': args.device,
        'machine': processor if args.device == 'cpu' else torch.cuda.get_device_name(),
        'load_average': round(os.getloadavg()[0], 1),
        'steps': args.steps,
        'encoders': encoders,
        'ratios': {encoder: row['ratio'][0] for encoder, row in encoders.items()},
    }
    markdown = to_markdown(result)
    print(markdown)
    write(args.out, markdown, result)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
