"""Estimate what a training needs: steps, multiply-adds, memory, time on GPUs, and by measurement time here."""

from __future__ import annotations

import copy
import statistics
import tempfile

from mmengine.config import Config

from repre_mm.datasets import DatasetError
from repre_mm.engine.checks.explain import first_line
from repre_mm.engine.checks.schedule import steps_per_epoch
from repre_mm.engine.cost import count_cost
from repre_mm.engine.launch import build_runner
from repre_mm.utils.configs import starts_from_encoder

# Peaks of their data sheets in TFLOP/s, dense, in bf16 with fp32 sums.
_GPUS = {'H100': 989, 'A100': 312, 'RTX 4090': 165, 'RTX 3090': 71}
_UTILISATION = 0.35  # of a GPU's peak, as transformers of this size reach
_RESERVE = 1.15  # for what the allocator holds back; measured on CPUs
_FIRST_STEP = 50 * 2**20  # bytes that libraries load in it; measured on CPUs, with a model of a megabyte
_WARM_UP, _MEASURED = 3, 10  # steps


def training_needs(cfg: Config, measure: bool = False) -> str:
    """Return a line each for the steps, the computation, the memory and the time of a training.

    Args:
        cfg: A checked config.
        measure: Train a few steps here, in a folder that is removed again, and say how long all of them take.
    """
    lines, steps, cost = {}, _steps(cfg), None
    if steps:
        epochs = cfg.train_cfg.get('max_epochs')
        lines['steps'] = f'{steps:,}' + (f' ({epochs:,} epochs of {steps // epochs:,})' if epochs else '')
    if not starts_from_encoder(cfg):
        batch = cfg.train_dataloader.batch_size
        try:
            cost = count_cost(cfg, batch)
        except DatasetError:  # one that does not cut views
            pass
        except Exception as error:  # a model whose steps depend on values, which fake tensors lack
            lines['computation'] = lines['memory'] = f'unknown ({first_line(error)})'
    if cost:
        memory = [cost.weight_bytes, cost.state_bytes, cost.step_bytes]
        parts = [f'{each / 2**30:.2f}' for each in (_RESERVE * sum(memory) + _FIRST_STEP, *memory)]
        lines['computation'] = f'{cost.step_macs / 1e9:.1f} G multiply-adds per image, {batch} images per process'
        lines['memory'] = (
            f'{parts[0]} GiB per process: weights {parts[1]}, optimizer {parts[2]}, activations and gradients '
            f'{parts[3]}, {100 * (_RESERVE - 1):.0f} % more for the allocator, and 0.05 for libraries'
        )
        if steps:
            flops = 2 * cost.step_macs * batch * steps
            times = [f'{name} {_hours(flops / (peak * 1e12 * _UTILISATION))}' for name, peak in _GPUS.items()]
            lines['GPU time'] = f'{", ".join(times)}, at {_UTILISATION * 100:.0f} % of the peak in bf16'
    if measure and steps:
        seconds = seconds_per_step(cfg)
        lines['time here'] = f'{_hours(seconds * steps)} ({seconds:.2f} s per step, median of {_MEASURED})'
    return '\n'.join(f'  {name:<12} {value}' for name, value in lines.items())


def seconds_per_step(cfg: Config) -> float:
    """Train a few steps, data loading included, and return the median time of one."""
    cfg = copy.deepcopy(cfg)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir, cfg.resume, cfg.load_from, cfg.log_level = folder, False, None, 'ERROR'
        cfg.experiment_name = folder
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=_WARM_UP + _MEASURED, val_interval=10**9)
        cfg.param_scheduler = []
        for name in ('checkpoint', 'knn', 'reconstruction'):
            cfg.default_hooks[name] = None
        cfg.update(
            {f'{split}_{part}': None for split in ('val', 'test') for part in ('cfg', 'dataloader', 'evaluator')}
        )
        runner = build_runner(cfg)
        runner.train()
    times, _ = runner.message_hub.get_scalar('train/time').data  # of mmengine's IterTimerHook
    return statistics.median(times[_WARM_UP:])


def _steps(cfg: Config) -> int | None:
    epochs = cfg.train_cfg.get('max_epochs')
    return (steps_per_epoch(cfg) or 0) * epochs if epochs else cfg.train_cfg.max_iters


def _hours(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f'{minutes} min' if minutes < 120 else f'{minutes / 60:.0f} h'
