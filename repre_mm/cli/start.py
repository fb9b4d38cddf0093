"""Start a tool in a process that is prepared before torch is loaded."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import warnings
from collections.abc import Callable


def run_tool(main: Callable[[], object]) -> None:
    """Prepare the process, call a tool's main function, and end the process as its process group needs it."""
    prepare_process()
    from repre_mm.distributed.processes import run_to_the_end

    run_to_the_end(main)


def prepare_process() -> None:
    """Let waiting threads sleep, and import the stack without what it prints.

    OpenMP's threads spin while they wait for each other. If something else runs on the same cores, they take away the
    time that the others need: docs/stack.md has the numbers. libgomp reads the variable when torch loads it.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    gc.disable()  # imports make a million objects that stay: looking for garbage among them is a fifth of the time
    hidden = sys.modules.setdefault('mmdet', None)  # mmpretrain imports all of it, for one layer of a detector
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # deprecations inside the stack
        import mmpretrain.datasets
        import mmpretrain.models  # noqa: F401
    if hidden is None:
        del sys.modules['mmdet']
    gc.freeze()
    gc.enable()
