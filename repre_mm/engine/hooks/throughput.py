"""Images per second and the share of time spent waiting for data."""

from __future__ import annotations

from collections import deque

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from repre_mm.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``images_per_s`` (all processes together) and ``data_wait`` (0 to 1) over the last iterations.

    Args:
        window: Iterations that the figures cover.
        wait_warning: Share of waiting above which a hint is logged, once.
    """

    priority = 'NORMAL'  # after IterTimerHook, whose times it reads, and before LoggerHook

    def __init__(self, window: int = 20, wait_warning: float = 0.2) -> None:
        self.wait_warning = wait_warning
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=window)
        self._warned = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        """Update the two figures from IterTimerHook's times."""
        hub = runner.message_hub
        images = data_batch['inputs'][0].shape[0] * get_world_size()
        self._recent.append(
            (images, hub.get_scalar('train/time').current(), hub.get_scalar('train/data_time').current())
        )
        total, seconds, waited = (sum(column) for column in zip(*self._recent, strict=True))
        hub.update_scalar('train/images_per_s', total / max(seconds, 1e-9))
        hub.update_scalar('train/data_wait', waited / max(seconds, 1e-9))
        full = len(self._recent) == self._recent.maxlen
        if full and not self._warned and waited > self.wait_warning * seconds:
            self._warned = True
            runner.logger.warning(
                f'{waited / seconds:.0%} of the time goes into waiting for data: raise '
                f'train_dataloader.num_workers (now {runner.train_dataloader.num_workers}) if there '
                'are idle cores, or make the pipeline cheaper'
            )
