"""The same work through other libraries: images per second of a training step, from JPEG files.

    python tools/benchmarks/peers.py [--batch 16] [--rounds 5] [--peers PYTHON] [--out docs/benchmarks/NAME]

ViT-S/16 at 224, two views, online and momentum encoder on both, AdamW. repre_mm and mmpretrain run as in
``throughput.py``; stable-pretraining its MoCo v3; lightly, which has none, BYOL from its parts: as many encoder passes.
lightly and stable-pretraining are no dependencies, and want other versions of what mmpretrain needs: install them,
torch and timm into an environment of their own, and name its interpreter. What is missing is left out, and said.
Each run is a process of 2 to 4 GiB. The last line of standard output is a JSON object.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dataloader import lightly_views, stable_pretraining_views
from report import command_line, describe, machine, publish, spread, table
from throughput import make_parser, write_images
from throughput import serve as serve_runner
from turns import Contestant, Desk, in_turn

OURS = 'repre_mm, RePre + MoCo v3, fp32'
#: Name -> settings; those with 'ours' are throughput.py's.
RUNS = {
    'repre_mm, RePre + MoCo v3, bf16': {'ours': True, 'precision': 'bf16'},
    OURS: {'ours': True, 'precision': 'fp32'},
    'mmpretrain, MoCo v3, fp32': {'ours': False, 'precision': 'fp32'},
    'stable-pretraining, MoCo v3, fp32': {'peer': 'stable_pretraining', 'precision': 'fp32'},
    'lightly, BYOL, fp32': {'peer': 'lightly', 'precision': 'fp32'},
}


def parse_args() -> argparse.Namespace:
    parser = make_parser('Compare training runs of several libraries, from JPEG files.')
    parser.add_argument('--peers', default=sys.executable, help='interpreter of the environment that has the peers')
    return parser.parse_args()


def stable_pretraining_parts(device: str):
    """(views of a file, model, loss of two views, what follows the optimizer step)."""
    from stable_pretraining.methods.mocov3 import MoCov3

    model = MoCov3('vit_small_patch16_224').to(device)
    views = stable_pretraining_views('mocov3', mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])

    def update() -> None:
        for part in (model.backbone, model.projector):
            part.update_teacher()

    return views, model, lambda one, two: model(one, two).loss, update


def lightly_parts(device: str):
    """As :func:`stable_pretraining_parts`."""
    import timm
    import torch
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms.utils import IMAGENET_NORMALIZE
    from torch import nn

    encoder = timm.create_model('vit_small_patch16_224', num_classes=0)
    online = nn.Sequential(encoder, BYOLProjectionHead(encoder.num_features, 4096, 256)).to(device)
    target = copy.deepcopy(online)
    deactivate_requires_grad(target)
    predictor = BYOLPredictionHead(256, 4096, 256).to(device)
    criterion = NegativeCosineSimilarity()

    def loss(one, two):
        with torch.no_grad():
            first, second = target(one), target(two)
        return 0.5 * (criterion(predictor(online(one)), second) + criterion(predictor(online(two)), first))

    views, trained = lightly_views('mocov3', normalize=IMAGENET_NORMALIZE), nn.ModuleList([online, predictor])
    return views, trained, loss, lambda: update_momentum(online, target, m=0.99)


PEERS: dict[str, Callable] = {'stable_pretraining': stable_pretraining_parts, 'lightly': lightly_parts}


def serve_peer(settings: dict) -> None:
    """A plain training loop around a library's parts; answers like ``throughput.serve``."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    desk = Desk()
    device = settings['device']
    views_of, model, loss_of, update = PEERS[settings['peer']](device)
    paths = sorted(path for path in Path(settings['data']).rglob('*') if path.suffix.lower() in ('.jpg', '.jpeg'))

    class Images(Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int):
            return views_of(paths[index])

    loader = DataLoader(
        Images(),
        settings['batch'],
        shuffle=True,
        num_workers=settings['workers'],
        drop_last=True,
        persistent_workers=settings['workers'] > 0,
        pin_memory=device == 'cuda',
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    model.train()

    def batches():
        while True:
            yield from loader

    source = batches()

    def step() -> float:
        started = time.perf_counter()
        views = [view.to(device, non_blocking=True) for view in next(source)]
        waited = time.perf_counter() - started
        loss_of(*views[:2]).backward()
        optimizer.step()
        optimizer.zero_grad()
        update()
        return waited

    def work(command: dict) -> dict:
        started = time.perf_counter()
        waited = sum(step() for _ in range(command['steps']))
        if device == 'cuda':
            torch.cuda.synchronize()
        return {'seconds': time.perf_counter() - started, 'waited': waited}

    step()
    desk.serve(work)


def peer_versions(python: str) -> dict[str, str]:
    """Which of the libraries an environment has."""
    code = f"""
import json
from importlib.metadata import PackageNotFoundError, version
found = {{}}
for name in {list(PEERS)}:
    try:
        found[name] = version(name.replace('_', '-'))
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""
    return json.loads(subprocess.check_output([python, '-c', code], text=True))


def main() -> None:
    args = parse_args()
    if args.serve:
        (serve_peer if 'peer' in args.serve else serve_runner)(args.serve)
    with tempfile.TemporaryDirectory() as folder:
        if not args.data:
            write_images(Path(folder), args.images)
        compare(args, args.data or folder)


def compare(args: argparse.Namespace, data: str) -> None:
    from tqdm import tqdm

    env = machine(args.device)
    found = peer_versions(args.peers)
    missing = [name for name in PEERS if name not in found]
    env['versions'] |= found
    runs = {name: run for name, run in RUNS.items() if run.get('peer') not in missing}
    settings = {'data': data, 'batch': args.batch, 'workers': args.workers, 'device': args.device}
    with tqdm(total=len(runs) * (args.rounds + 1), smoothing=0.05) as bar:

        def start(name: str) -> Contestant:
            bar.set_description(f'starting {name}')
            python = args.peers if 'peer' in runs[name] else sys.executable
            contestant = Contestant(__file__, runs[name] | settings, python)
            contestant.ask(steps=args.steps)  # warm up; the loader's queue fills
            bar.update()
            return contestant

        processes = {name: start(name) for name in runs}
        bar.set_description('training')
        answers = in_turn(processes, args.rounds, bar.update, steps=args.steps)
        for process in processes.values():
            process.end()
    images = args.batch * args.steps
    rates = {name: [images / answer['seconds'] for answer in values] for name, values in answers.items()}
    waits = {name: [answer['waited'] / answer['seconds'] for answer in values] for name, values in answers.items()}
    rows, ratios = [], {}
    for name in runs:
        factors = [mine / other for mine, other in zip(rates[OURS], rates[name], strict=True)]
        if 'repre_mm' not in name:
            ratios[name] = round(statistics.median(factors), 3)
        rows.append([name, spread(rates[name], 2), spread(factors, 2), f'{statistics.median(waits[name]):.1%}'])
    text = [
        '# The same work through other libraries',
        '',
        command_line(),
        '',
        describe(env),
        '',
        f'ViT-S/16 at 224 on {args.device}, batch {args.batch}, '
        + ('' if args.data else f'{args.images} synthetic JPEGs of 500 x 375 pixels, ')
        + f'{args.workers} worker processes per data loader, file to updated weights. Two views through the online and '
        f'the momentum encoder; only repre_mm also reconstructs. Median of {args.rounds} turns of {args.steps} steps, '
        'in brackets least and most. "Factor": repre_mm\'s images/s in fp32 over this one, per round.',
        '',
        *table(['run', 'images/s', 'factor', 'waits for data'], rows),
        '',
        *[f'Not measured: {name.replace("_", "-")} is not installed here.' for name in missing],
        '',
    ]
    result = {'machine': env, 'settings': settings | {'data': bool(args.data)}, 'answers': answers}
    publish(args.out, '\n'.join(text).rstrip() + '\n', result, ratios)


if __name__ == '__main__':
    main()
