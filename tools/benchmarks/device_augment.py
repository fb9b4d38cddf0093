"""Augmentation on the device: what the loader then delivers on one core, and the time that the device takes.

    python tools/benchmarks/device_augment.py --data DIR [--device cuda] [--out docs/benchmarks/NAME.md]

Three things take turns. The loader with all augmentation, as shipped, and with crop and flip alone
(``device_augment=True``): images per second of processor time on one core, file to packed views. And the device: time
per image of the data preprocessor that augments and normalises, and of mmpretrain's that normalises only. The last line
of standard output is a JSON object.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dataloader import FAST, METHODS, ROOT, machine, measure
from report import write
from tqdm import tqdm

CUT = f'{FAST}, device_augment'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time augmentation that is shared by loader and device.')
    parser.add_argument('--data', type=Path, required=True, help='a folder of images, best JPEGs')
    parser.add_argument('--images', type=int, default=48, help='how many of them')
    parser.add_argument('--rounds', type=int, default=7, help='how often each has its turn')
    parser.add_argument('--batch', type=int, default=32, help='images in a batch on the device')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS, help='whose views')
    parser.add_argument('--out', type=Path, help='where the Markdown goes; the JSON goes beside it')
    return parser.parse_args()


def load(method: str, on_device: bool) -> object:
    """The config of a method with ViT-S, its augmentation moved to the device or not."""
    from mmengine.config import Config

    from repre_mm.engine.device_augment import augment_on_device

    cfg = Config.fromfile(sorted((ROOT / 'configs/pretrain' / method).glob('repre_*_vit-small*300e_in1k.py'))[0])
    cfg.device_augment = on_device
    augment_on_device(cfg)
    return cfg


def loader(cfg: object) -> Callable[[str], dict]:
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
    return lambda path: pipeline({'img_path': path})


def on_device(cfg: object, device: str, batch: int) -> Callable[[], object]:
    """The data preprocessor on a batch of random pixels that is on the device already."""
    from mmengine.registry import MODELS, DefaultScope

    from repre_mm.datasets import view_sizes

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocessor = MODELS.build(cfg.data_preprocessor).to(device)
    sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
    views = [torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device) for size in sizes]
    return lambda: preprocessor({'inputs': views, 'data_samples': None}, True)


def milliseconds(calls: dict[str, Callable], device: str, rounds: int, batch: int) -> dict[str, list[float]]:
    """Per image: processor time on a CPU, time on the clock on a GPU; median, least, most."""
    clock = time.process_time if device == 'cpu' else time.perf_counter
    wait = (lambda: None) if device == 'cpu' else torch.cuda.synchronize
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in tqdm(range(rounds + 1), desc=device, unit='round'):
        for name, call in calls.items():
            wait()
            started = clock()
            call()
            wait()
            if i:  # the first one warms up
                times[name].append(1e3 * (clock() - started) / batch)
    return {name: spread(values, 3) for name, values in times.items()}


def spread(values: list[float], digits: int) -> list[float]:
    return [round(f(values), digits) for f in (statistics.median, min, max)]


def compare(method: str, images: list[str], args: argparse.Namespace) -> dict:
    configs = {FAST: load(method, False), CUT: load(method, True)}
    rates = measure(method, {name: loader(cfg) for name, cfg in configs.items()}, images, args.rounds)
    gains = [cut / full for full, cut in zip(rates[FAST], rates[CUT], strict=True)]
    calls = {name: on_device(cfg, args.device, args.batch) for name, cfg in configs.items()}
    return {
        'loader_images_per_second': {name: spread(values, 1) for name, values in rates.items()},
        'loader_gain': spread(gains, 2),
        'device_ms_per_image': milliseconds(calls, args.device, args.rounds, args.batch),
    }


def to_markdown(result: dict) -> str:
    env = result['machine']
    lines = [
        '# Augmentation on the device',
        '',
        f'`python tools/benchmarks/device_augment.py --data DIR --images {result["images"]} '
        f'--rounds {result["rounds"]} --batch {result["batch"]} --device {result["device"]}`',
        '',
        f'Loader: {result["images"]} images, {result["mean_kilobytes"]} kB on average, file cache warm; one core, '
        'images per second of processor time, file to packed views. Device: milliseconds per image (all its views) of '
        f'the data preprocessor, a batch of {result["batch"]} already there, fp32. Medians of {result["rounds"]} '
        'rounds in turn, in brackets least to most.',
        '',
        f'{env["processor"]}, {env["cores"]} cores; device: {result["device_name"]}. Python {env["python"]}, '
        + ', '.join(f'{name} {number}' for name, number in env['versions'].items())
        + f'. Load average after measuring: {env["load_average"]}.',
        '',
        '| views | where colours change | loader, images/s | gain | device, ms per image |',
        '|---|---|---|---|---|',
    ]

    def cell(values: list[float]) -> str:
        return '{:g} ({:g} to {:g})'.format(*values)

    for method, row in result['methods'].items():
        for name, place in ((FAST, 'loader'), (CUT, 'device')):
            rate, gain = cell(row['loader_images_per_second'][name]), cell(row['loader_gain']) if name == CUT else '1'
            lines.append(f'| {method} | {place} | {rate} | {gain} | {cell(row["device_ms_per_image"][name])} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, as a worker process has
    import cv2

    from repre_mm.datasets import find_images

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    images = [str(args.data / name) for name in find_images(args.data)[: args.images]]
    methods = {method: compare(method, images, args) for method in args.methods}
    result = {
        'images': len(images),
        'rounds': args.rounds,
        'batch': args.batch,
        'device': args.device,
        'device_name': 'the same core' if args.device == 'cpu' else torch.cuda.get_device_name(),
        'mean_kilobytes': round(statistics.mean(os.path.getsize(path) for path in images) / 1000),
        'machine': machine(),
        'methods': methods,
        'ratios': {f'{method}: loader gain': row['loader_gain'][0] for method, row in methods.items()},
    }
    markdown = to_markdown(result)
    print(markdown)
    write(args.out, markdown, result)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
