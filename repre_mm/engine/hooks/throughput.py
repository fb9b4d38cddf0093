"""Log images per second, the share of time spent waiting for data, the share of a GPU's peak, and the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from repre_mm.engine.cost import peak_tflops
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``images_per_s`` (all processes together), ``data_wait`` and on a GPU ``peak_share`` (0 to 1).

    They cover the last iterations. ``peak_share`` is what the step multiplies and adds over what the GPU could have in
    bf16 in the same time, whatever the precision of the run. The main process counts it in the run's first iteration:
    matrix products, convolutions and attention, also what gradient checkpointing computes again. Compiled blocks run
    uncompiled in that one iteration. What CPUs have kernels of their own for is not counted.

    Args:
        window: Iterations that the figures cover.
        wait_warning: Share of waiting above which a hint is logged, once.
        peak: Of the device, in TFLOP/s. Default: by the GPU's name, see :func:`repre_mm.engine.cost.peak_tflops`;
            without a GPU, or with one that is not listed there, ``peak_share`` is not logged.
    """

    priority = 'NORMAL'  # after IterTimerHook, whose times it reads, and before LoggerHook

    def __init__(self, window: int = 20, wait_warning: float = 0.2, peak: float | None = None) -> None:
        self.wait_warning, self.peak = wait_warning, peak
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=window)
        self._warned = False
        self._flops = 0  # of one step of this process
        self._second_step: tuple[int, float] | None = None  # its number and its start

    def before_train(self, runner: Runner) -> None:
        """Find the peak, and have the first step counted."""
        self._second_step = None
        if self.peak is None and torch.cuda.is_available():
            name = torch.cuda.get_device_name()
            self.peak = peak_tflops(name)
            if self.peak is None:
                runner.logger.info(
                    f'peak_share is not logged: set ThroughputHook.peak to the TFLOP/s of {name} in bf16'
                )
        if self.peak and is_main_process():
            self._count_next_step(runner.model)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        """Update the figures from IterTimerHook's times."""
        hub = runner.message_hub
        self._estimate_time_left(runner)
        images = count_images(data_batch['inputs'])
        self._recent.append(
            (images, hub.get_scalar('train/time').current(), hub.get_scalar('train/data_time').current())
        )
        total, seconds, waited = (sum(column) for column in zip(*self._recent, strict=True))
        hub.update_scalar('train/images_per_s', total * get_world_size() / max(seconds, 1e-9))
        hub.update_scalar('train/data_wait', waited / max(seconds, 1e-9))
        if self._flops:
            flops = self._flops * len(self._recent)
            hub.update_scalar('train/peak_share', flops / max(seconds, 1e-9) / (self.peak * 1e12))
        full = len(self._recent) == self._recent.maxlen
        if full and not self._warned and waited > self.wait_warning * seconds:
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

    def _count_next_step(self, model: Any) -> None:
        train_step = model.train_step

        def counted(*args: Any, **kwargs: Any) -> dict:
            del model.train_step  # the class's own again
            # Frames that torch.compile meets under a counter it would never compile later either.
            with torch.compiler.set_stance('force_eager'), FlopCounterMode(display=False) as counter:
                result = train_step(*args, **kwargs)
            self._flops = counter.get_total_flops()
            return result

        model.train_step = counted


def count_images(inputs: Tensor | Sequence[Tensor]) -> int:
    """Number of images in the inputs of a batch: (B, C, H, W), a list of (C, H, W), or a list of views (B, C, H, W)."""
    views = not isinstance(inputs, Tensor) and inputs[0].ndim == 4
    return len(inputs[0]) if views else len(inputs)
