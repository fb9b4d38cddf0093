"""Keep the console short: a summary at the start; config, environment and hooks go to the log file only."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from repre_mm.utils.modules import unwrap

# Messages that start so go to the log file only.
_FILE_ONLY = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Checkpoints will be saved to',
    'Exp name: ',
    'paramwise_options -- ',
)


class ConsoleFilter(logging.Filter):
    """Show only warnings while a Runner is built, then everything but messages for the log file."""

    setting_up = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record."""
        if self.setting_up:
            return record.levelno >= logging.WARNING
        return not record.getMessage().startswith(_FILE_ONLY)


def filter_console(logger: logging.Logger) -> ConsoleFilter:
    """Filter what a logger writes to the console, not to its files."""
    console = ConsoleFilter()
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.addFilter(console)
    return console


def training_summary(runner: Runner, loop: BaseLoop) -> str:
    """Summarise a training that is about to start, one fact a line."""
    model, loader, cfg = unwrap(runner.model), loop.dataloader, runner.cfg
    algorithm = getattr(model, 'algorithm', model)
    backbone = getattr(algorithm, 'backbone', algorithm)
    size = sum(each.numel() for each in backbone.parameters()) / 1e6
    batch, processes = loader.batch_size or cfg.train_dataloader.get('batch_size'), get_world_size()
    epochs = f' in {loop.max_epochs:,} epochs' if isinstance(loop, EpochBasedTrainLoop) else ''
    optimizer = cfg.get('optim_wrapper', {}).get('optimizer', {})
    device = next(model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU, threads: {torch.get_num_threads()}'
    lines = {
        'config': cfg.filename or 'none',
        'data': f'{len(loader.dataset):,} images{_root(loader.dataset)}',
        'encoder': f'{type(backbone).__name__}, {size:.1f} M parameters',
        'method': ('' if algorithm is model else 'RePre on ') + type(algorithm).__name__,
        'batch': f'{batch}' + (f' x {processes} processes = {batch * processes}' if processes > 1 else ''),
        'length': f'{loop.max_iters:,} steps{epochs}',
        'optimizer': f'{optimizer.get("type", "?")}, learning rate {optimizer.get("lr", "?")}',
        'device': f'{name}, {_precision(cfg.get("optim_wrapper", {}))}',
        'seed': str(runner.seed),
        'work dir': f'{runner.work_dir} (log and whole config: {runner.timestamp}/)',
    }
    return 'training starts\n' + '\n'.join(f'  {name:<10} {value}' for name, value in lines.items())


def _root(dataset: Any) -> str:
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    root = getattr(dataset, 'folder', None) or getattr(dataset, 'data_root', None)
    return f' under {root}' if root else ''


def _precision(wrapper: dict) -> str:
    kind = str(wrapper.get('type', 'OptimWrapper'))
    if kind.endswith('BFloat16OptimWrapper'):
        return 'bf16'
    return 'mixed precision' if 'Amp' in kind else 'fp32'
