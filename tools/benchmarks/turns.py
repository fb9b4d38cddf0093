"""Processes that take turns: while one works, the others and their data loaders stand still.

A benchmark starts itself once more for each thing that it compares. Whatever else the machine does then hits all of
them alike; and each has a memory of its own to measure.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable


class Contestant:
    """One process, stopped unless it is asked something.

    Args:
        script: The benchmark's file; it is called as ``script --serve SETTINGS``.
        settings: What the process shall be, as JSON.
        python: Its interpreter, that of another environment for instance.
        wait: Until it is ready; otherwise the first :meth:`ask` does, and several get ready at once.

    Raises:
        RuntimeError: The process has died; the end of what it wrote is in the message.
    """

    def __init__(self, script: str, settings: dict, python: str = sys.executable, wait: bool = True) -> None:
        self.settings = settings
        self._errors = tempfile.TemporaryFile('w+')  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            [python, script, '--serve', json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # a group of its own, with its workers, to stop and to end
        )
        atexit.register(self.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it is called then too
        self._ready = False
        if wait:
            self._get_ready()

    def ask(self, **command) -> dict:
        """Let the process work on one command; returns its answer."""
        self._get_ready()
        self._signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(command) + '\n')
        self._process.stdin.flush()
        return self._receive()

    def end(self) -> None:
        """End the process and its workers."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _get_ready(self) -> None:
        if not self._ready:
            self._receive()
            self._ready = True

    def _receive(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            tail = ''.join(self._errors.readlines()[-25:])
            raise RuntimeError(f'the process for {self.settings} ended with {self._process.returncode}:\n{tail}')
        self._signal(signal.SIGSTOP)
        return json.loads(line)

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)


class Desk:
    """The other end, inside the process: commands come in, answers go out, and everything else goes to the errors."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), 'w')
        os.dup2(2, 1)  # what others print
        self._commands = os.fdopen(os.dup(0))

    def answer(self, **values) -> None:
        self._answers.write(json.dumps(values) + '\n')
        self._answers.flush()

    def next_command(self) -> dict:
        """Wait for the next command; ends the process where there is none any more."""
        line = self._commands.readline()
        if not line:
            os._exit(0)
        return json.loads(line)

    def serve(self, work: Callable[[dict], dict]) -> None:
        """Answer commands for ever; the first answer says that all is ready."""
        self.answer()
        while True:
            self.answer(**work(self.next_command()))


def in_turn(contestants: dict[str, Contestant], rounds: int, tick: Callable[[], object], **command) -> dict[str, list]:
    """Ask all the same, round after round; every second round in the reverse order.

    Args:
        contestants: By name.
        rounds: How often each has its turn.
        tick: Called after each turn, for a progress bar.
        **command: What they are asked.

    Returns:
        The answers of each, one per round.
    """
    answers: dict[str, list] = {name: [] for name in contestants}
    for index in range(rounds):
        names = list(contestants)
        for name in names if index % 2 == 0 else reversed(names):
            answers[name].append(contestants[name].ask(**command))
            tick()
    return answers
