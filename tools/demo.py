"""The whole way in minutes, on two cores: toy scenes, pre-training, scores against a random encoder, pictures.

``make demo``, or ``python tools/demo.py [--work-dir work_dirs/demo]``.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/toy/repre_simclr_vit-tiny_toy.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Make toy scenes, pre-train RePre + SimCLR, score, draw.')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--data', type=Path, default=Path('data/toy_scenes'), help='where the toy scenes go')
    parser.add_argument('--epochs', type=int, default=7, help='default: 7, three to four minutes on two cores')
    return parser.parse_args()


def native_bf16() -> bool:
    """Whether bf16 is faster than fp32 here: on GPUs, and on CPUs with instructions for it."""
    import torch

    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()


def say(started: float, text: str) -> None:
    """One line per step, with the time since the start."""
    print(f'[{time.time() - started:4.0f} s] {text}', flush=True)


def main() -> None:
    args = parse_args()
    started = time.time()
    say(started, f'1/4 toy scenes in {args.data}')
    from repre_mm.toy_scenes import make_toy_scenes

    make_toy_scenes(args.data)

    say(started, '2/4 loading the stack')
    from mmengine.config import Config

    from repre_mm.engine.adapt import set_length
    from repre_mm.engine.launch import build_runner, set_data_root
    from repre_mm.evaluation import evaluate_config
    from repre_mm.utils.stack import stack_versions

    cfg = Config.fromfile(CONFIG)
    set_data_root(cfg, str(args.data / 'cls'))
    cfg.launcher, cfg.work_dir = 'none', str(args.work_dir)
    if native_bf16():
        cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
    set_length(cfg, args.epochs)

    say(started, f'3/4 pre-training RePre + SimCLR for {cfg.train_cfg.max_epochs} epochs')
    runner = build_runner(cfg)
    training = time.time()
    runner.train()
    training = time.time() - training

    say(started, '4/4 kNN and linear probe on frozen features, against random weights')
    options = {'knn_options': {'k': [20]}}
    checkpoint = args.work_dir / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    scores, random = (evaluate_config(cfg, source, **options) for source in (checkpoint, 'random'))
    l1 = runner.message_hub.get_scalar('train/recon_l1').data[0]
    pictures = sorted((args.work_dir / 'reconstructions').glob('iter_*.png'), key=lambda path: path.stat().st_mtime)
    shutil.copyfile(pictures[-1], args.work_dir / 'reconstructions.png')
    summary = {
        'random_linear_top1': random['linear']['top1'],
        'linear_top1': scores['linear']['top1'],
        'random_knn_top1': random['knn']['top1'][20],
        'knn_top1': scores['knn']['top1'][20],
        'recon_l1_first': float(l1[0]),
        'recon_l1_last': float(l1[-10:].mean()),
        'train_seconds': round(training, 1),
        'seconds': round(time.time() - started, 1),
        'precision': 'bf16' if native_bf16() else 'fp32',
        'config': CONFIG.name,
        'versions': stack_versions(),
    }
    (args.work_dir / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')

    say(started, 'done')
    print(f"""
                     random encoder   pre-trained
  linear probe       {summary['random_linear_top1']:10.1f} %  {summary['linear_top1']:10.1f} %
  kNN (k = 20)       {summary['random_knn_top1']:10.1f} %  {summary['knn_top1']:10.1f} %
  L1 per pixel       {summary['recon_l1_first']:10.3f}    {summary['recon_l1_last']:10.3f}   (first step, last steps)

  numbers            {args.work_dir}/summary.json
  pictures           {args.work_dir}/reconstructions.png
  checkpoint         {checkpoint}

What next:
  all on one page    make report
  your own images    .venv/bin/repre train recipes/repre_simclr_vit-tiny_cpu --data DIR
  score a checkpoint .venv/bin/python tools/test.py {CONFIG.relative_to(ROOT)} {checkpoint} --data {args.data}/cls
  does RePre help?   docs/benchmarks/2026-11-24-toy-weighting.md: this table is against random weights only
  full-size configs  configs/pretrain/
""")


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
