"""Log images per second, the share of time spent waiting for data, and the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from repre_mm.registry import HOOKS

# Share of waiting above which a hint is logged, once.
_TOO_LONG = 0.2


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``images_per_s`` (of all processes) and ``data_wait`` (share of the time, 0 to 1) of the last iterations.

    Args:
        window: Iterations that the figures cover.
    """

    priority = 'NORMAL'  # after IterTimerHook, whose times it reads, and before LoggerHook

    def __init__(self, window: int = 20) -> None:
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=window)
        self._warned = False
        self._second_step: tuple[int, float] | None = None  # its number and its start

    def before_train(self, runner: Runner) -> None:
        """Start a new estimate of the time left."""
        self._second_step = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        """Update the figures from IterTimerHook's times."""
        hub = runner.message_hub
        self._estimate_time_left(runner)
        times = (hub.get_scalar(f'train/{name}').current() for name in ('time', 'data_time'))
        self._recent.append((count_images(data_batch['inputs']), *times))
        images, seconds, waited = (sum(column) for column in zip(*self._recent, strict=True))
        seconds = max(seconds, 1e-9)
        hub.update_scalar('train/images_per_s', images * get_world_size() / seconds)
        hub.update_scalar('train/data_wait', waited / seconds)
        full = len(self._recent) == self._recent.maxlen
        if full and not self._warned and waited > _TOO_LONG * seconds:
            self._warned = True
            preprocessor = str((runner.cfg.get('data_preprocessor') or {}).get('type'))
            movable = torch.cuda.is_available() and preprocessor.endswith('SelfSupDataPreprocessor')
            runner.logger.warning(
                f'{waited / seconds:.0%} of the time goes into waiting for data: raise '
                f'train_dataloader.num_workers (now {runner.train_dataloader.num_workers}) if there '
                f'are idle cores, {"change colours on the GPU (device_augment=True), " if movable else ""}'
                'or make the pipeline cheaper'
            )

    def _estimate_time_left(self, runner: Runner) -> None:
        """Replace IterTimerHook's estimate, which spreads the slow first step over all that follow."""
        if self._second_step is None:
            self._second_step = runner.iter + 1, time.monotonic()
            return
        begin, then = self._second_step
        seconds = (time.monotonic() - then) / (runner.iter + 1 - begin)  # with the pictures and scores in between
        runner.message_hub.update_info('eta', seconds * (runner.max_iters - runner.iter - 1))


def count_images(inputs: Tensor | Sequence[Tensor]) -> int:
    """Count the images of a batch: (B, C, H, W), a list of (C, H, W), or a list of views (B, C, H, W)."""
    views = not isinstance(inputs, Tensor) and inputs[0].ndim == 4
    return len(inputs[0]) if views else len(inputs)
