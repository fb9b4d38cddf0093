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

# Looks at the others' notes, a period apart, before one is taken for silent.
_LOOKS = 4
# Where in torch a process waits for the others.
_WAITING = ('/torch/distributed/', '/torch/autograd/', '/torch/nn/parallel/')
#: Exit status of a training that its watchdog ended: EX_SOFTWARE of sysexits.h.
HUNG = 70


@HOOKS.register_module()
class WatchdogHook(Hook):
    """End a training of several processes when one of them hangs, and say which, and where it stands.

    Left to itself such a training waits for the timeout of its collectives, half an hour with gloo, and does not say
    for whom. Here a thread of each process notes, in the store through which the processes found each other, how far
    the process has come and that it is alive. Where this process has not come further for ``timeout`` seconds, its
    thread reads what the others noted. Whoever gives no sign of life any more hangs, or else who is furthest behind
    and waits for nobody.

    What is done between epochs and in validations may take as long as it likes, as only one process may do it.

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

    def before_train(self, runner: Runner) -> None:
        """Start watching, where there is more than one process."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return
        self._logger, self._main = runner.logger, threading.main_thread().ident
        self._come('the start', busy=True)
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)
        self._thread.start()

    def before_train_epoch(self, runner: Runner) -> None:
        """From here on processes wait for each other."""
        self._come(f'the first batch of an epoch, after step {runner.iter}')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The batch is there."""
        self._come(f'step {runner.iter + 1}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """The step is done; hooks and the next batch follow."""
        self._come(f'after step {runner.iter + 1}')

    def after_train_epoch(self, runner: Runner) -> None:
        """What follows may take long."""
        self._come(f'between epochs, after step {runner.iter}', busy=True)

    def before_val_epoch(self, runner: Runner) -> None:
        """What follows may take long."""
        self._come(f'validation, after step {runner.iter}', busy=True)

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _come(self, where: str, busy: bool = False) -> None:
        count = self._place[0] + 1 if hasattr(self, '_place') else 0
        self._place = (count, where, busy, time.monotonic())  # in one piece, for the thread

    def _watch(self) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        address, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        # A connection of its own: the main thread may be waiting in the other one.
        store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=self.timeout))
        # Processes that torchrun starts again find the same store.
        store = dist.PrefixStore(f'repre_mm/watchdog/{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}', store)
        alive, looks, first = 0, 0, {}
        store.set(str(rank), json.dumps(self._note(alive)))
        while not self._stop.wait(self._period):
            try:
                alive += 1
                store.set(str(rank), json.dumps(self._note(alive)))
                if time.monotonic() - self._place[3] < self.timeout or self._place[2]:
                    looks = 0
                    continue
                others = [str(other) for other in range(world) if other != rank and store.check([str(other)])]
                notes = {int(other): json.loads(store.get(other)) for other in others}
            except RuntimeError as error:
                self._end(
                    f'the store at {address}:{port} is gone, and so is the process of rank 0 or torchrun ({error})'
                )
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
            # Equally far, those that do not wait in a collective; with a GPU they may wait anywhere.
            late = [r for r in late if not any(place in notes[r]['code'] for place in _WAITING)] or late
            if silent or not any(notes[r]['busy'] for r in late):
                # The first of those that do not hang tells; the others leave it the time to.
                teller = min({*notes} - {*silent})
                self._stop.wait(0 if rank == teller else 2 * self._period)
                self._end(self._diagnosis(notes, silent or late, bool(silent)))

    def _note(self, alive: int) -> dict[str, Any]:
        count, where, busy, since = self._place
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
        for rank, note in sorted(notes.items()):
            mark = ' <- hangs' if rank in culprits else ''
            lines.append(
                f'  rank {rank}, {note["process"]}: {note["where"]}, for {note["seconds"]} s, in {note["code"]}{mark}'
            )
        lines += [f'  rank {rank}: never heard of <- hangs' for rank in culprits if rank not in notes]
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
