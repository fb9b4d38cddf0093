"""Speed of the input pipelines on one core: images of a folder, read, augmented and packed, without a model.

    python tools/benchmarks/dataloader.py --data DIR [--out docs/benchmarks/NAME.md]

The pipelines take turns on the same files, so that what else the machine does hits all of them alike. Rates are images
per second of processor time of this process. The views are those of ``configs/_base_/views``; other libraries do what
they have for the same method. The last line of standard output is a JSON object.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from report import command_line, describe, machine, publish
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('mocov3', 'dino')
FAST = 'repre_mm.FastMultiView'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compare input pipelines on one core.')
    parser.add_argument('--data', type=Path, required=True, help='a folder of images, best JPEGs')
    parser.add_argument('--images', type=int, default=48, help='how many of them')
    parser.add_argument('--rounds', type=int, default=5, help='how often each pipeline has its turn')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS, help='whose views')
    parser.add_argument('--out', type=Path, help='where the Markdown goes; the JSON goes beside it')
    return parser.parse_args()


def mm_pipelines(method: str) -> dict[str, Callable[[str], object]]:
    """The views of a config, fast and by mmpretrain's transforms; and mmpretrain's own config, where it has one."""
    import mmpretrain
    from mmengine.config import Config
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    pipeline = Config.fromfile(ROOT / f'configs/_base_/views/{method}.py').pipeline
    (views,) = (step for step in pipeline if step.type.endswith('MultiView'))
    steps = {
        FAST: [{**views, 'type': 'repre_mm.FastMultiView'}, dict(type='PackInputs')],
        'mmpretrain MultiView, same views': [
            dict(type='repre_mm.LoadImage', channel_order='bgr'),
            {**views, 'type': 'MultiView'},
            dict(type='PackInputs'),
        ],
    }
    if method == 'mocov3':
        config = '.mim/configs/_base_/datasets/imagenet_bs512_mocov3.py'
        own = Config.fromfile(Path(mmpretrain.__file__).parent / config).train_pipeline
        steps[f'mmpretrain {mmpretrain.__version__}, its own config'] = own
    made = {}
    for name, transforms in steps.items():
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            compose = Compose(transforms)
        made[name] = lambda path, compose=compose: compose({'img_path': path})
    return made


def torchvision_views(method: str) -> Callable[[str], object]:
    """torchvision's transforms v2 on uint8 tensors, as its documentation advises."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import InterpolationMode, v2

    def view(blur: float, solarize: float = 0.0, scale: tuple = (0.08, 1.0), size: int = 224) -> v2.Compose:
        mode = InterpolationMode.BICUBIC if method == 'dino' else InterpolationMode.BILINEAR
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale, interpolation=mode, antialias=True),
                v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                v2.RandomGrayscale(0.2),
                v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], p=blur),
                v2.RandomSolarize(128, solarize),
                v2.RandomHorizontalFlip(),
            ]
        )

    if method == 'dino':
        views = [view(1.0, scale=(0.4, 1.0)), view(0.1, 0.2, (0.4, 1.0)), *[view(0.5, scale=(0.05, 0.4), size=96)] * 8]
    else:
        views = [view(1.0), view(0.1, 0.2)]

    def run(path: str) -> list[torch.Tensor]:
        image = decode_jpeg(read_file(path), ImageReadMode.RGB)
        return [transform(image) for transform in views]

    return run


def lightly_views(method: str, normalize: dict | None = None) -> Callable[[str], object]:
    """lightly's transforms on Pillow images; they end in float tensors, with a mean and a std normalised."""
    from lightly import transforms
    from PIL import Image

    if method == 'dino':
        transform = transforms.DINOTransform(
            global_crop_scale=(0.4, 1.0), local_crop_scale=(0.05, 0.4), n_local_views=8, normalize=normalize
        )
    else:  # MoCo v3 took its views from BYOL
        one = transforms.BYOLView1Transform(normalize=normalize)
        two = transforms.BYOLView2Transform(normalize=normalize)
        transform = transforms.BYOLTransform(view_1_transform=one, view_2_transform=two)

    def run(path: str) -> object:
        with Image.open(path) as image:
            return transform(image.convert('RGB'))

    return run


def stable_pretraining_views(method: str, **normalize) -> Callable[[str], object]:
    """stable-pretraining's transforms on Pillow images; ``normalize``: mean and std, if floats shall be normalised."""
    from PIL import Image
    from stable_pretraining.data import transforms as T

    def view(blur: float, solarize: float = 0.0, scale: tuple = (0.08, 1.0), size: int = 224) -> T.Compose:
        return T.Compose(
            T.RGB(),
            T.RandomResizedCrop((size, size), scale=scale),
            T.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, p=0.8),
            T.RandomGrayscale(p=0.2),
            T.PILGaussianBlur(p=blur),
            T.RandomSolarize(threshold=128, p=solarize),
            T.RandomHorizontalFlip(p=0.5),
            T.ToImage(**normalize),
        )

    if method == 'dino':
        views = [view(1.0, scale=(0.4, 1.0)), view(0.1, 0.2, (0.4, 1.0)), *[view(0.5, scale=(0.05, 0.4), size=96)] * 8]
    else:
        views = [view(1.0), view(0.1, 0.2)]
    transform = T.MultiViewTransform(views)

    def run(path: str) -> list:
        with Image.open(path) as image:
            return [sample['image'] for sample in transform({'image': image.convert('RGB')})['views']]

    return run


#: Libraries that are no dependencies: what makes their views.
PEERS = {'lightly': lightly_views, 'stable-pretraining': stable_pretraining_views}


def measure(method: str, pipelines: dict[str, Callable], images: list[str], rounds: int) -> dict[str, list[float]]:
    """Images per second of processor time of every pipeline, one number per round."""
    for run in pipelines.values():  # imports, tables, caches
        for path in images[:2]:
            run(path)
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in tqdm(range(rounds), desc=method, unit='round'):
        for name, run in pipelines.items():
            started = time.process_time()
            for path in images:
                run(path)
            rates[name].append(len(images) / (time.process_time() - started))
    return rates


def summarise(rates: dict[str, list[float]]) -> list[dict]:
    """Per pipeline its rate, and how many times slower than the fast one it is: medians, least and most."""
    rows = []
    for name, values in rates.items():
        ratios = [fast / value for fast, value in zip(rates[FAST], values, strict=True)]
        rows.append(
            {
                'pipeline': name,
                'images_per_second': [round(f(values), 1) for f in (statistics.median, min, max)],
                'fast_is_times_faster': [round(f(ratios), 2) for f in (statistics.median, min, max)],
            }
        )
    return rows


def to_markdown(result: dict) -> str:
    env = result['machine']
    lines = [
        '# Speed of the input pipeline',
        '',
        command_line(),
        '',
        f'{result["images"]} images, {result["mean_size"][0]} x {result["mean_size"][1]} pixels on average, '
        f'{result["mean_kilobytes"]} kB; file cache warm. One core, no worker processes, one thread; images per second '
        f'of processor time, file to packed views, without a model. Median of {result["rounds"]} rounds that take '
        'turns, in brackets least to most. "Factor": how many times faster FastMultiView is, per round.',
        '',
        describe(env),
    ]
    for method, rows in result['methods'].items():
        lines += ['', f'## {method}', '', '| pipeline | images/s | factor |', '|---|---|---|']
        for row in rows:
            cells = [f'{m:g} ({low:g} to {high:g})' for m, low, high in list(row.values())[1:]]
            lines.append(f'| {row["pipeline"]} | {" | ".join(cells)} |')
    lines += ['', *[f'Not measured: {line}.' for line in result['skipped']]]
    return '\n'.join(lines).rstrip() + '\n'


def main() -> None:
    args = parse_args()
    # One core: what the libraries do with more of them is not the question, workers use one each.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import cv2
    import torch

    from repre_mm.datasets import find_images, read_image

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    images = [str(args.data / name) for name in find_images(args.data)[: args.images]]
    shapes = [read_image(path).shape for path in images]
    missing = {name for name in PEERS if not find_spec(name.replace('-', '_'))}
    methods, ratios = {}, {}
    for method in args.methods:
        pipelines = mm_pipelines(method)
        pipelines['torchvision v2'] = torchvision_views(method)
        for name in sorted(PEERS.keys() - missing):
            pipelines[f'{name} {version(name)}'] = PEERS[name](method)
        pipelines['reading alone'] = read_image
        methods[method] = summarise(measure(method, pipelines, images, args.rounds))
        ratios |= {f'{method}: {row["pipeline"]}': row['fast_is_times_faster'][0] for row in methods[method][1:-1]}
    result = {
        'images': len(images),
        'rounds': args.rounds,
        'mean_size': [round(statistics.mean(shape[i] for shape in shapes)) for i in (1, 0)],
        'mean_kilobytes': round(statistics.mean(os.path.getsize(path) for path in images) / 1000),
        'machine': machine(),
        'methods': methods,
        'skipped': [f'{name} is not installed (it is no dependency of repre_mm)' for name in sorted(missing)],
    }
    publish(args.out, to_markdown(result), result, ratios)


if __name__ == '__main__':
    main()
