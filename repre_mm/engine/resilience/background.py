"""Run tasks in one background thread, in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# Python waits for its thread when the process ends, unless it is killed.
_thread = ThreadPoolExecutor(1, 'repre_mm background')


def run_in_background(work: Callable[[], object]) -> Future:
    """Run a task after all earlier ones; it must not touch what the training changes.

    Returns:
        A future with its result or error.
    """
    return _thread.submit(work)


def wait_for_background() -> None:
    """Wait until all tasks given so far have finished, successfully or not."""
    _thread.submit(int).result()
