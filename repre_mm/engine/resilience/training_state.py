"""Collect the state of a training for a checkpoint."""

from __future__ import annotations

import time
from typing import Any

import mmengine
import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to

from repre_mm.distributed.sharding import whole_states
from repre_mm.utils.modules import unwrap


def training_state(runner: Runner, meta: dict, optimizer: bool = True, schedules: bool = True) -> dict[str, Any] | None:
    """Collect what ``mmengine.runner.Runner.save_checkpoint`` would write; that method does both in one go.

    All processes call this together.

    Args:
        runner: In training.
        meta: The numbers of finished ``epoch`` and ``iter``.
        optimizer: Include the optimizer's state.
        schedules: Include the schedulers' states.

    Returns:
        ``meta``, ``state_dict``, ``message_hub``, ``optimizer``, ``param_schedulers``, and what the hooks'
        ``before_save_checkpoint`` add. Tensors are on the CPU; those of a training on the CPU are not copied. None on
        all processes but the main one.
    """
    with whole_states(runner.model, runner.optim_wrapper.optimizer):
        if not is_main_process():
            return None
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
            'state_dict': weights_to_cpu(unwrap(runner.model).state_dict()),
            'message_hub': _to_cpu(runner.message_hub.state_dict()),
        }
        if optimizer:
            state['optimizer'] = _to_cpu(runner.optim_wrapper.state_dict())
        if schedules and runner.param_schedulers is not None:
            state['param_schedulers'] = [schedule.state_dict() for schedule in runner.param_schedulers]
        runner.call_hook('before_save_checkpoint', checkpoint=state)
        return state


def _to_cpu(data: Any) -> Any:
    return apply_to(data, lambda value: isinstance(value, torch.Tensor), lambda value: value.cpu())
