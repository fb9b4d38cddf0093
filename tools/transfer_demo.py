"""Does pre-training pay? On two cores: RePre on toy scenes, then detection and segmentation from scratch and from it.

``make transfer-demo``, or ``python tools/transfer_demo.py [--work-dir work_dirs/transfer_demo]``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / 'configs/toy'
STARTS = ('scratch', 'repre')


@dataclass(frozen=True)
class Task:
    """A downstream task: its configs, its part of the toy scenes, and what its scores are called."""

    name: str
    pretrain: Path
    pretrain_share: float  # of the config's epochs
    config: Path
    data: str
    scores: dict[str, str]  # name in the summary -> name in mmengine's metrics, and the factor to percent
    percent: float


TASKS = (
    Task(
        'Mask R-CNN, Swin',
        TOY / 'transfer/repre_mocov3_swin-tiny_toy.py',
        1.0,
        TOY / 'transfer/mask-rcnn_swin-tiny_toy.py',
        'coco',
        {'box_mAP': 'coco/bbox_mAP', 'mask_mAP': 'coco/segm_mAP'},
        100.0,
    ),
    Task(
        'SETR, ViT',
        TOY / 'repre_mocov3_vit-tiny_toy.py',
        0.25,
        TOY / 'transfer/setr-naive_vit-tiny_toy.py',
        'cityscapes',
        {'mIoU': 'mIoU', 'mAcc': 'mAcc'},
        1.0,
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Pre-train, then compare detection and segmentation by their start.')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/transfer_demo'))
    parser.add_argument('--data', type=Path, default=Path('data/toy_scenes'), help='where the toy scenes go')
    parser.add_argument('--share', type=float, default=1.0, help='of every training, to try things out')
    return parser.parse_args()


def pretrain(task: Task, data: Path, work_dir: Path, share: float) -> Path:
    """Pre-train the encoder of a task on the portraits; returns the checkpoint."""
    from mmengine.config import Config

    from repre_mm.engine.launch import build_runner, set_data_root

    cfg = Config.fromfile(task.pretrain)
    set_data_root(cfg, str(data / 'cls'))
    cfg.launcher, cfg.work_dir, cfg.experiment_name = 'none', str(work_dir), str(work_dir)
    epochs = shorten(cfg, task.pretrain_share * share)
    build_runner(cfg).train()
    return work_dir / f'epoch_{epochs}.pth'


def fine_tune(task: Task, data: Path, work_dir: Path, checkpoint: Path | None, share: float) -> tuple[dict, list]:
    """Train and score a task from one start.

    Returns:
        What the summary says of it, and rows of pictures (image, ground truth, prediction).
    """
    from mmengine.config import Config

    from repre_mm.engine.initial_weights import start_from
    from repre_mm.engine.launch import build_runner
    from repre_mm.transfer.predictions import PredictionPicturesHook
    from repre_mm.transfer.settings import set_up_transfer

    cfg = Config.fromfile(task.config)
    set_up_transfer(cfg, str(data / task.data), loaders=('train', 'val', 'test'))
    cfg.launcher, cfg.work_dir, cfg.experiment_name = 'none', str(work_dir), str(work_dir)
    shorten(cfg, share)
    cfg.train_cfg.val_interval = cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters')) + 1  # tested below
    runner = build_runner(cfg)
    report = start_from(runner, checkpoint)
    # After so short a training no object is sure: the usual threshold would leave the pictures empty.
    pictures = PredictionPicturesHook(work_dir / 'pictures', num_images=6, score_threshold=0.1)
    runner.register_hook(pictures)
    started = time.time()
    runner.train()
    seconds = time.time() - started
    metrics = runner.test()
    scores = {name: round(task.percent * float(metrics[key]), 2) for name, key in task.scores.items()}
    filled = round(report.filled, 4) if report else 0.0
    return {**scores, 'encoder_filled': filled, 'train_seconds': round(seconds, 1)}, pictures.rows


def shorten(cfg, share: float) -> int:
    """Cut a training to a share of its length, its schedules too; returns the epochs or iterations."""
    key = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    whole = cfg.train_cfg[key]
    cfg.train_cfg[key] = max(1, round(share * whole))
    for schedule in cfg.param_scheduler:
        if schedule.end == whole:
            schedule.end = max(schedule.begin + 1, cfg.train_cfg[key])
    cfg.default_hooks.checkpoint.interval = cfg.train_cfg[key]
    return cfg.train_cfg[key]


def table(summary: dict) -> str:
    """The scores of the summary and the share of the encoder that was filled, in percent, one column per start."""
    lines = [f'  {"":<34}{"from scratch":>14}{"from RePre":>14}']
    for task in TASKS:
        for name in (*task.scores, 'encoder_filled'):
            values = [summary[task.data][start][name] * (100 if name == 'encoder_filled' else 1) for start in STARTS]
            cells = ''.join(f'{value:>12.1f} %' for value in values)
            lines.append(f'  {task.name:<18}{name.replace("_", " "):<16}{cells}')
    return '\n'.join(lines) + '\n'


def say(started: float, text: str) -> None:
    """One line per step, with the time since the start."""
    print(f'[{time.time() - started:4.0f} s] {text}', flush=True)


def main() -> None:
    args = parse_args()
    started = time.time()
    say(started, f'1/7 toy scenes in {args.data}')
    from repre_mm.toy_scenes import make_toy_scenes

    make_toy_scenes(args.data)
    from repre_mm.utils.stack import stack_versions
    from repre_mm.visualization import save_png, sheet

    step, summary = 1, {}
    for task in TASKS:
        step += 1
        say(started, f'{step}/7 pre-training RePre + MoCo v3 for {task.name}')
        folder = args.work_dir / task.data
        checkpoint = pretrain(task, args.data, folder / 'pretrain', args.share)
        results, drawn = {}, {}
        for start in STARTS:
            step += 1
            say(started, f'{step}/7 {task.name} from {start}')
            source = checkpoint if start == 'repre' else None
            results[start], drawn[start] = fine_tune(task, args.data, folder / start, source, args.share)
        rows = [[*a, b[2]] for a, b in zip(drawn['scratch'], drawn['repre'], strict=True)]
        captions = ['image', 'ground truth', 'from scratch', 'from RePre']
        save_png(sheet(rows, captions), args.work_dir / f'{task.data}.png')
        summary[task.data] = {'task': task.name, 'config': task.config.name, 'pretrain': task.pretrain.name, **results}
    summary['seconds'] = round(time.time() - started, 1)
    summary['versions'] = stack_versions()
    (args.work_dir / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    (args.work_dir / 'summary.txt').write_text(table(summary))

    say(started, 'done')
    print(f'\n{table(summary)}')
    detection = TASKS[0].config.relative_to(ROOT)
    print(f"""\
  One run each with equal budgets: differences of a few points are within what another seed changes.

  numbers            {args.work_dir}/summary.json, summary.txt
  pictures           {args.work_dir}/coco.png, {args.work_dir}/cityscapes.png

What next:
  your own data      .venv/bin/python tools/train.py {detection} --data DIR --pretrained CHECKPOINT
  full-size configs  configs/transfer/
""")


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
