"""Stop on a signal of the batch system: save a checkpoint and exit with a status that asks for a restart."""

from __future__ import annotations

import signal
import threading
from typing import Any

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from repre_mm.distributed.processes import leave_distributed
from repre_mm.engine.hooks.checkpoint import SafeCheckpointHook
from repre_mm.registry import HOOKS

#: Exit status of a run that was told to stop and can go on: EX_TEMPFAIL of sysexits.h, "try again later".
REQUEUE = 75


@HOOKS.register_module()
class StopSignalHook(Hook):
    """On SIGTERM or SIGUSR1 save ``stopped.pth`` after the current optimizer step and exit with status 75.

    Slurm sends SIGTERM before it takes a machine back, and another signal earlier if asked to (``--signal=USR1@120``).
    ``--resume`` then goes on within the epoch. Processes may receive the signal at different times, so they agree on a
    step; since that waits for the device, only every ``interval`` steps.

    Args:
        interval: Optimizer steps between two agreements of several processes.

    Raises:
        ValueError: ``interval`` is less than 1.
    """

    priority = 'LOWEST'  # after everything that belongs to the step

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise ValueError(f'interval={interval} must be at least 1')
        self.interval = interval
        self._received: int | None = None
        self._steps = 0
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Handle both signals; the loading processes are started later and ignore them."""
        self._saver = SafeCheckpointHook()
        self._saver.before_train(runner)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGUSR1):
                self._previous[number] = signal.signal(number, self._note)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if told to, once the optimizer has stepped.

        Raises:
            SystemExit: With status 75, or 1 if the checkpoint could not be saved.
        """
        if not runner.optim_wrapper.should_update() or not self._agreed():
            return
        name = signal.Signals(self._received).name if self._received else 'a signal to another process'
        runner.logger.warning(f'{name}: saving and stopping after iteration {runner.iter + 1}')
        saved = self._saver.save_stopped(runner)
        if saved:
            runner.logger.warning(f'saved. Go on with --resume (exit status {REQUEUE})')
        self.after_train(runner)
        leave_distributed()
        raise SystemExit(REQUEUE if saved else 1)

    def after_train(self, runner: Runner) -> None:
        """Restore the former signal handlers."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _note(self, number: int, frame: Any) -> None:
        self._received = number

    def _agreed(self) -> bool:
        """Return whether any process was told to stop; the same answer on all."""
        if not dist.is_initialized():
            return self._received is not None
        self._steps += 1
        if self._steps % self.interval:
            return False
        device = get_device() if dist.get_backend() == 'nccl' else 'cpu'
        told = torch.tensor(int(self._received is not None), device=device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told)
