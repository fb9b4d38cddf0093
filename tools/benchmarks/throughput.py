"""End to end, from JPEG files: RePre + MoCo v3 as shipped against plain MoCo v3 as mmpretrain ships it.

    python tools/benchmarks/throughput.py [--batch 16] [--rounds 5] [--device cuda] [--out docs/benchmarks/NAME]

ViT-S/16 at 224 in real Runners, each in a process of its own with its own data loader; they take turns. Without
``--data`` the files are synthetic, of ImageNet's size. Then the stages of one step, one after another: decode, augment,
transfer, forward, backward, update, moving average. The last line of standard output is a JSON object of key ratios.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from report import command_line, describe, machine, publish, spread, table
from turns import Contestant, Desk, in_turn

ROOT = Path(__file__).resolve().parents[2]
OURS = 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'
THEIRS = '.mim/configs/mocov3/mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py'
BASELINE = 'mmpretrain MoCo v3, fp32'
STAGES = ('decode', 'augment', 'transfer', 'forward', 'backward', 'update', 'moving average')
TARGETS = {'RePre + MoCo v3, bf16': 1.7, 'RePre + MoCo v3, fp32': 1.0}


def make_parser(description: str) -> argparse.ArgumentParser:
    """The arguments of a comparison of whole runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--data', help='a folder of JPEGs; default: synthetic ones')
    parser.add_argument('--images', type=int, default=512, help='how many synthetic ones')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--rounds', type=int, default=5, help='how often each run has its turn')
    parser.add_argument('--steps', type=int, default=2, help='in a turn')
    parser.add_argument('--workers', type=int, default=2, help='of each data loader')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', type=Path, help='path of the .md and .json, without suffix')
    parser.add_argument('--serve', type=json.loads, help=argparse.SUPPRESS)
    return parser


def contestants(device: str) -> dict[str, dict]:
    """The runs by name. mmpretrain's own mixed precision (fp16) needs a GPU."""
    runs = {
        'RePre + MoCo v3, bf16': {'ours': True, 'precision': 'bf16'},
        'RePre + MoCo v3, fp32': {'ours': True, 'precision': 'fp32'},
        BASELINE: {'ours': False, 'precision': 'fp32'},
    }
    if device == 'cuda':
        runs['mmpretrain MoCo v3, fp16'] = {'ours': False, 'precision': 'fp16'}
    return runs


def write_images(folder: Path, count: int) -> None:
    """JPEGs of 500 x 375 pixels and about 110 kB, as ImageNet's are on average: coarse shapes with fine grain."""
    import cv2
    import numpy as np
    from tqdm import tqdm

    generator = np.random.default_rng(0)
    grain = generator.normal(0, 18, (500, 500, 3)).astype(np.float32)
    for index in tqdm(range(count), desc='synthetic images'):
        shape = (375, 500) if index % 4 else (500, 375)
        coarse = cv2.resize(generator.uniform(0, 255, (12, 16, 3)), shape[::-1], interpolation=cv2.INTER_CUBIC)
        shifted = np.roll(grain, generator.integers(0, 500, 2), axis=(0, 1))[: shape[0], : shape[1]]
        image = (coarse + shifted).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f'{index:05d}.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


# ---------------------------------------------------------------------------------------------------------------------
# In the process of a run


def build_run(ours: bool, precision: str, data: str, batch: int, workers: int, device: str, work_dir: str):
    """A Runner on a shipped config; only data, batch, workers and precision are changed; it saves and draws nothing."""
    import mmpretrain
    import torch
    from mmengine.config import Config
    from mmengine.model import revert_sync_batchnorm
    from mmengine.runner import Runner

    from repre_mm.engine.launch import build_runner

    path = ROOT / OURS if ours else Path(mmpretrain.__file__).parent / THEIRS
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.launcher, cfg.log_level = work_dir, 'none', 'ERROR'
    loader = cfg.train_dataloader
    loader.update(batch_size=batch, num_workers=workers, drop_last=True, pin_memory=device == 'cuda')
    kinds = {'bf16': 'repre_mm.BFloat16OptimWrapper', 'fp16': 'AmpOptimWrapper', 'fp32': 'OptimWrapper'}
    cfg.optim_wrapper.type = kinds[precision]
    if precision == 'fp32':
        cfg.optim_wrapper.pop('loss_scale', None)
    cfg.train_cfg.max_epochs = 10**6
    if ours:
        loader.dataset.update(root=data, split=None)
        cfg.default_hooks.update(knn=None, reconstruction=None)
        cfg.default_hooks.checkpoint.interval = 10**9
        return build_runner(cfg)
    # Its ImageNet asks for the thousand classes; the same files without labels, and its own pipeline.
    pipeline = loader.dataset.pipeline
    loader.dataset = dict(type='CustomDataset', data_root=data, with_label=False, pipeline=pipeline)
    cfg.default_hooks.checkpoint.interval = -1
    runner = Runner.from_cfg(cfg)
    if not torch.cuda.is_available():
        runner.model = revert_sync_batchnorm(runner.model)  # it runs on GPUs only
    return runner


def serve(settings: dict) -> None:
    """Train, and after each iteration that was asked for wait to be asked again."""
    import torch
    from mmengine.hooks import Hook

    desk = Desk()

    class Turns(Hook):
        priority = 'LOWEST'
        left = 1  # the first iteration comes unasked
        waited = 0.0

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            self.waited += runner.message_hub.get_scalar('train/data_time').current()

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.left -= 1
            if self.left:
                return
            if settings['device'] == 'cuda':
                torch.cuda.synchronize()
            now = time.perf_counter()
            desk.answer(**({'seconds': now - self.started, 'waited': self.waited} if hasattr(self, 'started') else {}))
            command = desk.next_command()
            while 'stages' in command:
                desk.answer(**time_stages(runner, data_batch, settings, command['stages']))
                command = desk.next_command()
            self.left, self.waited, self.started = command['steps'], 0.0, time.perf_counter()
            # What was waited for before is not this turn's.
            timer = next(hook for hook in runner.hooks if type(hook).__name__ == 'IterTimerHook')
            timer.t = time.time()

    with tempfile.TemporaryDirectory() as work_dir:
        runner = build_run(**settings, work_dir=work_dir)
        runner.register_hook(Turns())
        runner.train()


def time_stages(runner, batch: dict, settings: dict, repeats: int) -> dict[str, float]:
    """Median seconds of each stage of a step, alone; decode and augment on one core, without worker processes."""
    import torch
    from mmengine.dataset import default_collate
    from mmpretrain.datasets.transforms import PackInputs  # noqa: F401 (registers the transforms)
    from mmpretrain.registry import TRANSFORMS

    from repre_mm.datasets import read_image
    from repre_mm.models.selfsup import CosineEMA

    model, optim = runner.model, runner.optim_wrapper
    dataset = runner.train_dataloader.dataset
    dataset = getattr(dataset, 'wrapped', dataset)
    paths = [dataset.get_data_info(index)['img_path'] for index in range(settings['batch'])]
    load = TRANSFORMS.build(dict(type='mmpretrain.LoadImageFromFile'))
    decode = read_image if settings['ours'] else lambda path: load({'img_path': path})
    targets = [module for module in model.modules() if isinstance(module, CosineEMA)]
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def timed(stage: str, work, *args):
        if settings['device'] == 'cuda':
            torch.cuda.synchronize()
        started = time.perf_counter()
        result = work(*args)
        if settings['device'] == 'cuda':
            torch.cuda.synchronize()
        seconds[stage].append(time.perf_counter() - started)
        return result

    def forward(data: dict):
        with optim.optim_context(model):
            return model.parse_losses(model(**data, mode='loss'))[0]

    def transfer(samples: list) -> dict:
        return model.data_preprocessor(default_collate(samples), True)

    def update() -> None:
        optim.step()
        optim.zero_grad()

    def move_target() -> None:
        if settings['ours']:
            for target in targets:
                target.step()
        else:
            model.momentum_encoder.update_parameters(torch.nn.Sequential(model.backbone, model.neck))

    for _ in range(repeats):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        timed('decode', lambda: [decode(path) for path in paths])
        samples = timed('augment', lambda: [dataset.pipeline({'img_path': path}) for path in paths])
        torch.set_num_threads(threads)
        data = timed('transfer', transfer, samples)
        loss = timed('forward', forward, data)
        timed('backward', optim.backward, optim.scale_loss(loss))
        timed('update', update)
        timed('moving average', move_target)
    medians = {stage: statistics.median(values) for stage, values in seconds.items()}
    medians['augment'] -= medians['decode']  # a pipeline reads its file
    if not settings['ours']:
        medians['forward'] -= medians['moving average']  # it happens there
    return medians


# ---------------------------------------------------------------------------------------------------------------------


def main() -> None:
    args = make_parser('Compare whole training runs, from JPEG files.').parse_args()
    if args.serve:
        serve(args.serve)
    with tempfile.TemporaryDirectory() as folder:
        if not args.data:
            write_images(Path(folder), args.images)
        compare(args, args.data or folder)


def compare(args: argparse.Namespace, data: str) -> None:
    from tqdm import tqdm

    env = machine(args.device)
    settings = {'data': data, 'batch': args.batch, 'workers': args.workers, 'device': args.device}
    runs = contestants(args.device)
    with tqdm(total=len(runs) * (args.rounds + 3), smoothing=0.05) as bar:

        def start(name: str) -> Contestant:
            bar.set_description(f'starting {name}')
            contestant = Contestant(__file__, runs[name] | settings)
            contestant.ask(steps=args.steps)  # warm up; the loader's queue fills
            bar.update()
            return contestant

        processes = {name: start(name) for name in runs}
        bar.set_description('whole steps')
        answers = in_turn(processes, args.rounds, bar.update, steps=args.steps)
        bar.set_description('stage by stage')
        stages = {}
        for name, process in processes.items():
            stages[name] = process.ask(stages=3)
            bar.update(2)
            process.end()
    images = args.batch * args.steps
    rates = {name: [images / answer['seconds'] for answer in values] for name, values in answers.items()}
    waits = {name: [answer['waited'] / answer['seconds'] for answer in values] for name, values in answers.items()}
    factors = {name: [a / b for a, b in zip(values, rates[BASELINE], strict=True)] for name, values in rates.items()}
    ratios = {name: round(statistics.median(values), 3) for name, values in factors.items() if name != BASELINE}
    rows = [
        [name, spread(rates[name], 2), spread(factors[name], 2), f'{statistics.median(waits[name]):.1%}']
        for name in runs
    ]
    stage_rows = [[name, *(f'{1e3 * stages[name][stage] / args.batch:.2f}' for stage in STAGES)] for name in runs]
    lines = [
        '# Speed of a whole run',
        '',
        command_line(),
        '',
        describe(env),
        '',
        f'ViT-S/16 at 224 on {args.device}, batch {args.batch}, '
        + ('' if args.data else f'{args.images} synthetic JPEGs of 500 x 375 pixels, ')
        + f'{args.workers} worker processes per data loader; real Runners on the shipped configs, without checkpoints, '
        f'pictures and scores. Median of {args.rounds} turns of {args.steps} steps, in brackets least and most. '
        '"Factor": images/s over those of mmpretrain in fp32, per round. On a CPU mmpretrain has no mixed precision.',
        '',
        *table(['run', 'images/s', 'factor', 'waits for data'], rows),
        '',
    ]
    for name, target in TARGETS.items():
        reached = 'reached' if ratios[name] >= target else 'NOT REACHED'
        lines.append(f'- {name}: {ratios[name]:.2f} times, to be at least {target}: {reached}')
    lines += [
        '',
        '## Stage by stage',
        '',
        'Milliseconds per image, each stage alone. Decode and augment on one core; in a run the worker processes do '
        "them beside the rest. mmpretrain's moving average is part of its forward, and was taken out of it here.",
        '',
        *table(['run', *STAGES], stage_rows),
        '',
    ]
    result = {'machine': env, 'settings': settings | {'data': bool(args.data)}, 'answers': answers, 'stages': stages}
    publish(args.out, '\n'.join(lines), result, ratios)


if __name__ == '__main__':
    main()
