"""Whether two trainings are at the same point, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

#: Logged numbers that are measured, not computed.
CLOCKS = ('time', 'data_time', 'images_per_s', 'data_wait', 'peak_share', 'memory')


def training_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Where two training checkpoints differ in what the training computed.

    Compared bit by bit: weights, target networks, queues and centres (``state_dict``), the optimizer's and the
    schedulers' states, every logged number but :data:`CLOCKS`, the iteration and the epoch.

    Args:
        ours: A checkpoint.
        theirs: Another one.

    Returns:
        The places, such as ``state_dict.queue1``; empty when nothing differs.
    """
    return list(_differences(_computed(ours), _computed(theirs), ''))


def _computed(checkpoint: dict[str, Any]) -> dict[str, Any]:
    parts = {name: checkpoint.get(name) for name in ('state_dict', 'optimizer', 'param_schedulers')}
    scalars = checkpoint['message_hub']['log_scalars']
    log = {name: buffer.data for name, buffer in scalars.items() if name.split('/')[-1] not in CLOCKS}
    return {**parts, 'log': log, **{name: checkpoint['meta'][name] for name in ('iter', 'epoch')}}


def _differences(ours: Any, theirs: Any, place: str) -> Iterator[str]:
    if isinstance(ours, HistoryBuffer):
        ours, theirs = ours.data, getattr(theirs, 'data', theirs)
    if type(ours) is not type(theirs):
        yield f'{place} ({type(ours).__name__} and {type(theirs).__name__})'
    elif isinstance(ours, dict):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            inside = f'{place}.{key}' if place else str(key)
            if key not in ours or key not in theirs:
                yield f'{inside} (in one only)'
            else:
                yield from _differences(ours[key], theirs[key], inside)
    elif isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            yield f'{place} (lengths {len(ours)} and {len(theirs)})'
        else:
            for i, both in enumerate(zip(ours, theirs, strict=True)):
                yield from _differences(*both, f'{place}[{i}]')
    elif isinstance(ours, torch.Tensor):
        same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
        if not same or not torch.equal(*(each.reshape(-1).view(torch.uint8) for each in (ours, theirs))):
            yield place
    elif isinstance(ours, np.ndarray):
        if (ours.shape, ours.dtype, ours.tobytes()) != (theirs.shape, theirs.dtype, theirs.tobytes()):
            yield place
    elif ours != theirs and not (ours != ours and theirs != theirs):  # NaN is like NaN
        yield place
