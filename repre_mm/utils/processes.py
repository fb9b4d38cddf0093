"""Processes that read or write images."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import cv2


def process_pool(workers: int, module: str) -> ProcessPoolExecutor:
    """Processes for work on images.

    Args:
        workers: How many.
        module: The name of the module that has the work, imported once for all.
    """
    # Not a plain fork: the child of a process in which OpenCV has started threads hangs in OpenCV.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([module])
    # One OpenCV thread each: the processes already fill the cores.
    return ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,))
