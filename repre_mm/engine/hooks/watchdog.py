"""End a training of several processes when one of them hangs, and name it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from repre_mm.checkpoint.saving import wait_until_saved
from repre_mm.registry import HOOKS

# Looks at the other processes' notes, a period apart, before one counts as silent.
_LOOKS = 4
#: Exit status of a training that its watchdog ended: EX_SOFTWARE of sysexits.h.
HUNG = 70


@HOOKS.register_module()
class WatchdogHook(Hook):
    """End a training of several processes when one of them hangs, and say which one.

    Without it such a training waits for the timeout of its collectives, half an hour with gloo, and does not say for
    which process. Here a thread of each process writes its progress into the store through which the processes found
    each other. If its process makes none for ``timeout`` seconds, the thread reads the others' notes: a process hangs
    that no longer writes any, or else those furthest behind.

    Work between epochs and validations may take any time, as only one process may do it.

    Args:
        timeout: Seconds; keep it below that of the collectives (``env_cfg.dist_cfg.timeout``; 600 with nccl).

    Raises:
        ValueError: ``timeout`` is not positive.
    """

    priority = 'VERY_HIGH'  # before the hooks that take long

    def __init__(self, timeout: float = 300) -> None:
        if timeout <= 0:
            raise ValueError(
                f'timeout={timeout} must be positive; to have no watchdog, set default_hooks.watchdog=None'
            )
        self.timeout = timeout
        self._period = min(timeout / 6, 5.0)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._progress = (0, 0, True, 0.0)  # replaced as a whole, since the thread reads it

    def before_train(self, runner: Runner) -> None:
        """Start watching if there are several processes."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return
        self._logger = runner.logger
        self._reach(runner, busy=True)
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)
        self._thread.start()

    def before_train_epoch(self, runner: Runner, **kwargs: Any) -> None:
        """From here on processes wait for each other."""
        self._reach(runner)

    before_train_iter = after_train_iter = before_train_epoch

    def after_train_epoch(self, runner: Runner, **kwargs: Any) -> None:
        """What follows may take long."""
        self._reach(runner, busy=True)

    before_val_epoch = after_train_epoch

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _reach(self, runner: Runner, busy: bool = False) -> None:
        self._progress = (self._progress[0] + 1, runner.iter + 1, busy, time.monotonic())

    def _watch(self) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        address, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        # A connection of its own: the main thread may be waiting in the other one.
        store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=self.timeout))
        # Processes that torchrun restarts find the same store.
        store = dist.PrefixStore(f'repre_mm/watchdog/{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}', store)
        looks: deque[dict[int, list]] = deque(maxlen=_LOOKS)
        alive = 0
        while True:
            try:
                store.set(str(rank), json.dumps([alive, *self._progress[:3]]))
                if self._stop.wait(self._period):
                    return
                alive += 1
                if self._progress[2] or time.monotonic() - self._progress[3] < self.timeout:
                    looks.clear()
                    continue
                ranks = [r for r in range(world) if store.check([str(r)])]
                looks.append({r: json.loads(store.get(str(r))) for r in ranks})
            except RuntimeError as error:
                self._end(f'the store at {address}:{port} is gone: rank 0 or torchrun has ended ({error})')
            if len(looks) == _LOOKS and (message := self._diagnosis(looks[0], looks[-1], world)):
                self._end(message)

    def _diagnosis(self, before: dict[int, list], now: dict[int, list], world: int) -> str:
        """Compare the processes' notes (alive, progress, step, busy) of two looks; '' if those behind may be busy."""
        culprits = [r for r in range(world) if r not in now or (r in before and now[r][0] == before[r][0])]
        what = 'gives no sign of life any more'
        if not culprits:
            behind = min(count for _, count, _, _ in now.values())
            culprits = [r for r in now if now[r][1] == behind]
            what = 'is behind the others, or all are stuck'
            if any(now[r][3] for r in culprits):
                return ''
        steps = [f'  rank {r}: {f"step {now[r][2]}" if r in now else "never reported"}' for r in range(world)]
        return '\n'.join(
            [
                f'no step for {self.timeout:g} s: {", ".join(f"rank {r}" for r in culprits)} {what}. The run ends here '
                f'(exit status {HUNG}); look at that machine and its data, then go on with --resume. If steps may take '
                'longer, raise default_hooks.watchdog.timeout.',
                *steps,
            ]
        )

    def _end(self, message: str) -> None:
        self._logger.error(message)
        for handler in self._logger.handlers:
            handler.flush()
        saving = threading.Thread(target=wait_until_saved, daemon=True)
        saving.start()
        saving.join(60)
        # The main thread waits in a collective and cannot be reached.
        os._exit(HUNG)
