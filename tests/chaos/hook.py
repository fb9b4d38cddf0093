"""The faults that strike a training from inside: a hook that does what ``CHAOS_FAULTS`` says."""

import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook

from repre_mm.registry import HOOKS


@HOOKS.register_module()
class ChaosHook(Hook):
    """Harm this training, each fault at its iteration (from 1).

    ``CHAOS_FAULTS`` is a JSON list of objects with ``kind``, ``iteration``, ``ranks`` (whom it meets) and:

    - kill, terminate, freeze: ``delay``, seconds after the iteration's start, until SIGKILL, SIGTERM or SIGSTOP
    - kill_saving: SIGKILL at the ``event``-th time that the saving touches a file, ``delay`` seconds later
    - full_disk: for ``duration`` iterations no file may grow beyond ``room`` bytes

    What happens is written to the file ``CHAOS_JOURNAL`` first, one line each.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._faults = json.loads(os.environ.get('CHAOS_FAULTS', '[]'))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Start the faults of this iteration, and end those that are over."""
        self._work_dir = Path(runner.work_dir).resolve()
        for fault in self._faults:
            if get_rank() in fault['ranks'] and fault['iteration'] == runner.iter + 1:
                getattr(self, f'_{fault["kind"]}')(fault)
            if fault['kind'] == 'full_disk' and fault['iteration'] + fault['duration'] == runner.iter + 1:
                self._make_room()

    def after_train(self, runner) -> None:
        """No fault outlives the training."""
        self._make_room()

    def _kill(self, fault: dict) -> None:
        threading.Timer(fault['delay'], self._signal, (fault, signal.SIGKILL, True)).start()

    def _terminate(self, fault: dict) -> None:
        # torchrun passes it on; its processes have sessions of their own.
        under_torchrun = 'TORCHELASTIC_RUN_ID' in os.environ
        victim = os.getppid() if under_torchrun else os.getpid()
        threading.Timer(fault['delay'], self._signal, (fault, signal.SIGTERM, False, victim)).start()

    def _freeze(self, fault: dict) -> None:
        threading.Timer(fault['delay'], self._signal, (fault, signal.SIGSTOP)).start()

    def _signal(self, fault: dict, number: int, with_parent: bool = False, victim: int | None = None) -> None:
        self._note(fault)
        if with_parent and len(fault['ranks']) > 1 and get_rank() == 0:
            os.kill(os.getppid(), number)  # a machine fails: torchrun is gone, too
        os.kill(victim or os.getpid(), number)

    def _kill_saving(self, fault: dict) -> None:
        left = fault['event']

        def watch(event: str, args: tuple) -> None:
            nonlocal left
            if event not in ('open', 'os.rename', 'os.remove') or not isinstance(args[0], (str, os.PathLike)):
                return
            path = Path(args[0])
            if path.parent == self._work_dir and ('.pth' in path.name or 'last_checkpoint' in path.name):
                left -= 1
                if left == 0:
                    fault['at'] = f'{event.removeprefix("os.")} {path.name}'
                    if fault['delay'] == 0:
                        self._signal(fault, signal.SIGKILL)
                    threading.Timer(fault['delay'], self._signal, (fault, signal.SIGKILL)).start()

        sys.addaudithook(watch)

    def _full_disk(self, fault: dict) -> None:
        self._note(fault)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault['room'], resource.RLIM_INFINITY))

    def _make_room(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _note(self, fault: dict) -> None:
        with open(os.environ['CHAOS_JOURNAL'], 'a') as file:
            file.write(json.dumps({**fault, 'rank': get_rank()}) + '\n')
