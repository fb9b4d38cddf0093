"""How long a training stands still for a checkpoint, and how long it takes until the file is verified.

    python tools/benchmarks/saving.py [--config CONFIG] [--folder DIR] [--out docs/benchmarks/NAME.md]

The state is that of a whole training: online and target network, RePre's branch, AdamW's averages. Seconds on the clock
of the main thread, which is what a step waits for. The last line of standard output is a JSON object.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from report import write
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure how long a step waits for its checkpoint.')
    parser.add_argument('--config', type=Path, default=CONFIG)
    parser.add_argument('--folder', type=Path, help='on the disk to measure (default: a temporary folder)')
    parser.add_argument('--rounds', type=int, default=5, help='saves of each kind (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='where the Markdown goes; the JSON goes beside it')
    return parser.parse_args()


def make_runner(config: Path, folder: Path) -> SimpleNamespace:
    """As much of a Runner as saving needs, after one optimizer step."""
    from mmengine.config import Config
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from repre_mm.models.build import build_model

    cfg = Config.fromfile(config)
    init_default_scope('mmpretrain')
    model = build_model(cfg)
    cfg.optim_wrapper.type = 'OptimWrapper'
    for key in ('loss_scale', 'dtype'):
        cfg.optim_wrapper.pop(key, None)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = 1e-3 * torch.randn_like(parameter)
    wrapper.step()
    wrapper.zero_grad()
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        cfg=cfg,
        seed=0,
        epoch=0,
        iter=0,
        experiment_name='saving',
        work_dir=str(folder),
        param_schedulers=[],
        train_dataloader=SimpleNamespace(dataset=None),
        message_hub=MessageHub.get_instance('saving'),
        logger=MMLogger.get_instance('saving', log_level='ERROR'),
        call_hook=lambda name, **kwargs: None,
    )
    runner.save_checkpoint = partial(Runner.save_checkpoint, runner)
    return runner


def main() -> None:
    from repre_mm.checkpoint.saving import wait_until_saved
    from repre_mm.engine import SafeCheckpointHook

    args = parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {'waiting': [], 'background': []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        runner = make_runner(args.config, folder)
        hook = SafeCheckpointHook()
        hook.before_train(runner)
        for number in tqdm(range(args.rounds), unit='round'):
            started = time.perf_counter()
            hook._save(runner, 'saving.pth', dict(epoch=1, iter=number))
            seconds['background'].append(time.perf_counter() - started)
            wait_until_saved()
            seconds['waiting'].append(time.perf_counter() - started)
        size = (folder / 'saving.pth').stat().st_size
    ratios = [slow / fast for slow, fast in zip(seconds['waiting'], seconds['background'], strict=True)]
    rows = {**seconds, 'ratio': ratios}
    result = {
        'config': args.config.stem,
        'checkpoint_mb': round(size / 1e6),
        'load_average': round(os.getloadavg()[0], 1),
        'seconds': {name: [round(f(row), 2) for f in (statistics.median, min, max)] for name, row in rows.items()},
    }
    cells = {name: f'{m:g} ({low:g} to {high:g})' for name, (m, low, high) in result['seconds'].items()}
    markdown = '\n'.join(
        [
            '# How long a training stands still for a checkpoint',
            '',
            f'`python tools/benchmarks/saving.py --rounds {args.rounds}`',
            '',
            f'The checkpoint of `{result["config"]}`, {result["checkpoint_mb"]} MB. Seconds, median of {args.rounds} '
            'saves, in brackets least to most. "Ratio": waiting over background, per save.',
            '',
            f'{platform.processor() or platform.machine()}, one thread, Python {platform.python_version()}, torch '
            f'{torch.__version__}. Load average after measuring: {result["load_average"]}.',
            '',
            '| until the file is verified | until the training goes on | ratio |',
            '|---|---|---|',
            f'| {cells["waiting"]} | {cells["background"]} | {cells["ratio"]} |',
            '',
        ]
    )
    print(markdown)
    write(args.out, markdown, result)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
