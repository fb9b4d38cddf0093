"""Pools of processes that read or write images."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import cv2


def process_pool(workers: int, module: str) -> ProcessPoolExecutor:
    """Start a pool of processes for work on images.

    Args:
        workers: Number of processes.
        module: Name of the module with the work, imported once and forked.
    """
    # Not a plain fork: OpenCV hangs in the child of a process that has started OpenCV's threads.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([module])
    # One OpenCV thread each: the processes already fill the cores.
    return ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,))
