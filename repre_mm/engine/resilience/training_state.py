"""Collect the state of a training for a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine
import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to

from repre_mm.distributed.sharding import is_sharded, whole_states
from repre_mm.utils.modules import unwrap


@contextmanager
def whole_state_dicts(runner: Runner) -> Iterator[None]:
    """Inside, the main process gets whole tensors from ``state_dict()``, split or not; all processes enter."""
    if not is_sharded(runner.model):
        yield
        return
    with whole_states(runner.model, runner.optim_wrapper.optimizer):
        yield


def training_state(runner: Runner, meta: dict, optimizer: bool = True, schedules: bool = True) -> dict[str, Any] | None:
    """The state of a training, as ``mmengine.runner.Runner.save_checkpoint`` writes it; to be called by all processes.

    That method makes and writes it in one go, so nothing could be done between the two.

    Args:
        runner: In training.
        meta: ``epoch`` and ``iter``, the numbers of those that are done.
        optimizer: Put the optimizer's state in.
        schedules: Put the schedulers' states in.

    Returns:
        ``meta``, ``state_dict``, ``message_hub``, ``optimizer`` and ``param_schedulers``. Tensors are on the CPU; those
        that were there already are the training's own, not copies. What the hooks' ``before_save_checkpoint`` add.
        None on all processes but the main one.
    """
    with whole_state_dicts(runner):
        return _state(runner, meta, optimizer, schedules) if is_main_process() else None


def _state(runner: Runner, meta: dict, optimizer: bool, schedules: bool) -> dict[str, Any]:
    model = unwrap(runner.model)
    meta = dict(
        meta,
        cfg=runner.cfg.pretty_text,
        seed=runner.seed,
        experiment_name=runner.experiment_name,
        time=time.strftime('%Y%m%d_%H%M%S'),
        mmengine_version=mmengine.__version__,
    )
    if hasattr(runner.train_dataloader.dataset, 'metainfo'):
        meta['dataset_meta'] = runner.train_dataloader.dataset.metainfo
    state = {
        'meta': meta,
        'state_dict': weights_to_cpu(model.state_dict()),
        'message_hub': _to_cpu(runner.message_hub.state_dict()),
    }
    if optimizer:
        state['optimizer'] = _to_cpu(runner.optim_wrapper.state_dict())
    if schedules and runner.param_schedulers is not None:
        several = runner.param_schedulers  # a dict of lists with several optimizers
        state['param_schedulers'] = (
            {name: [each.state_dict() for each in some] for name, some in several.items()}
            if isinstance(several, dict)
            else [each.state_dict() for each in several]
        )
    runner.call_hook('before_save_checkpoint', checkpoint=state)
    return state


def _to_cpu(data: Any) -> Any:
    return apply_to(data, lambda value: isinstance(value, torch.Tensor), lambda value: value.cpu())
