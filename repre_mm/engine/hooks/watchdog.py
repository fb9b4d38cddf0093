"""End a training of several processes when one of them hangs, and name it."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from repre_mm.engine.resilience.background import wait_for_background
from repre_mm.registry import HOOKS

# Looks at the other processes' notes, a period apart, before one counts as silent.
_LOOKS = 4
# Parts of torch in which a process waits for the others.
_WAITING = ('/torch/distributed/', '/torch/autograd/', '/torch/nn/parallel/')
#: Exit status of a training that its watchdog ended: EX_SOFTWARE of sysexits.h.
HUNG = 70


@HOOKS.register_module()
class WatchdogHook(Hook):
    """End a training of several processes when one of them hangs, and say which one, and where.

    Without it such a training waits for the timeout of its collectives, half an hour with gloo, and does not say for
    which process. Here a thread of each process writes its progress into the store through which the processes found
    each other. If its process makes none for ``timeout`` seconds, the thread reads the others' notes: a process hangs
    that no longer writes any, or else the one furthest behind that does not wait for others.

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
        self._progress = (0, '', True, 0.0)  # replaced as a whole, since the thread reads it

    def before_train(self, runner: Runner) -> None:
        """Start watching if there are several processes."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return
        self._logger, self._main = runner.logger, threading.main_thread().ident
        self._reach('the start', busy=True)
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)
        self._thread.start()

    def before_train_epoch(self, runner: Runner) -> None:
        """From here on processes wait for each other."""
        self._reach(f'the first batch of an epoch, after step {runner.iter}')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The batch is loaded."""
        self._reach(f'step {runner.iter + 1}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Other hooks and the next batch follow."""
        self._reach(f'after step {runner.iter + 1}')

    def after_train_epoch(self, runner: Runner) -> None:
        """What follows may take long."""
        self._reach(f'between epochs, after step {runner.iter}', busy=True)

    def before_val_epoch(self, runner: Runner) -> None:
        """What follows may take long."""
        self._reach(f'validation, after step {runner.iter}', busy=True)

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _reach(self, where: str, busy: bool = False) -> None:
        self._progress = (self._progress[0] + 1, where, busy, time.monotonic())

    def _watch(self) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        address, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        # A connection of its own: the main thread may be waiting in the other one.
        store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=self.timeout))
        # Processes that torchrun restarts find the same store.
        store = dist.PrefixStore(f'repre_mm/watchdog/{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}', store)
        alive, looks, first = 0, 0, {}
        while True:
            try:
                store.set(str(rank), json.dumps(self._note(alive)))
                if self._stop.wait(self._period):
                    return
                alive += 1
                if time.monotonic() - self._progress[3] < self.timeout or self._progress[2]:
                    looks = 0
                    continue
                others = [str(other) for other in range(world) if other != rank and store.check([str(other)])]
                notes = {int(other): json.loads(store.get(other)) for other in others}
            except RuntimeError as error:
                self._end(f'the store at {address}:{port} is gone: rank 0 or torchrun has ended ({error})')
            first = notes if looks == 0 else first
            looks += 1
            if looks < _LOOKS:
                continue
            looks = 0
            silent = [
                r for r in range(world) if r != rank and notes.get(r, {}).get('alive') == first.get(r, {}).get('alive')
            ]
            notes[rank] = self._note(alive)
            behind = min(note['count'] for note in notes.values())
            late = [r for r in sorted(notes) if notes[r]['count'] == behind]
            # Of those, the ones that do not wait in a collective; with a GPU they may wait anywhere.
            late = [r for r in late if not any(place in notes[r]['code'] for place in _WAITING)] or late
            if silent or not any(notes[r]['busy'] for r in late):
                # The first process that does not hang reports; the others leave it the time to.
                reporter = min({*notes} - {*silent})
                self._stop.wait(0 if rank == reporter else 2 * self._period)
                self._end(self._diagnosis(notes, silent or late, bool(silent)))

    def _note(self, alive: int) -> dict[str, Any]:
        count, where, busy, since = self._progress
        frame = sys._current_frames().get(self._main)
        return {
            'alive': alive,
            'count': count,
            'where': where,
            'busy': busy,
            'seconds': round(time.monotonic() - since),
            'code': f'{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})' if frame else '?',
            'process': f'process {os.getpid()} on {socket.gethostname()}',
        }

    def _diagnosis(self, notes: dict[int, dict], culprits: list[int], silent: bool) -> str:
        names = ', '.join(f'rank {r}' for r in culprits)
        what = 'gives no sign of life any more' if silent else 'is behind the others, or all are stuck'
        lines = [
            f'no step for {self.timeout:g} s: {names} {what}. The run ends here (exit status {HUNG}); look at that '
            'machine and its data, then go on with --resume. If steps may take longer, raise '
            'default_hooks.watchdog.timeout.'
        ]
        for rank in sorted({*notes, *culprits}):
            note, mark = notes.get(rank), ' <- hangs' if rank in culprits else ''
            place = '{process}: {where}, for {seconds} s, in {code}'.format(**note) if note else None
            lines.append(f'  rank {rank}, {place}{mark}' if place else f'  rank {rank}: never reported{mark}')
        return '\n'.join(lines)

    def _end(self, message: str) -> None:
        self._logger.error(message)
        for handler in self._logger.handlers:
            handler.flush()
        saving = threading.Thread(target=wait_for_background, daemon=True)
        saving.start()
        saving.join(60)
        # The main thread waits in a collective and cannot be reached.
        os._exit(HUNG)
