"""Start a training from an encoder, and stop it if the weights that its config names do not arrive."""

from __future__ import annotations

import os
from typing import Any

import torch
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor
from torch.distributed.tensor import DTensor

from repre_mm.checkpoint import CheckpointError, LoadReport, load_pretrained
from repre_mm.distributed.sharding import is_sharded
from repre_mm.utils.configs import starts_from_encoder
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import unwrap

#: Smallest share of the encoder's parameters that ``load_from`` or ``init_cfg`` must fill. mmengine skips what does not
#: fit, so a file with other names leaves the encoder random.
MIN_LOADED = 0.5


def start_from(runner: Runner, path: str | os.PathLike | None, **options: Any) -> LoadReport | None:
    """Initialise a runner's model and fill its encoder, online and target, from a checkpoint.

    Args:
        runner: A ``ResumableRunner`` before its training. One that resumes is left alone.
        path: See :func:`repre_mm.checkpoint.load_pretrained`; None leaves the weights random.
        **options: ``trust``, ``prefix``: see :func:`repre_mm.checkpoint.load_pretrained`.

    Returns:
        The report, which is also logged; None if nothing was loaded.

    Raises:
        CheckpointError: The file is unreadable or fills too little of the encoder.
        UserError: The config would load a whole model (``load_from``) over it, or splits the parameters.
    """
    option = _option(runner)
    if path is None and option == '--pretrained' and runner._load_from is None and runner._resume_point is None:
        runner.logger.warning('no --pretrained CHECKPOINT: the encoder starts from random weights')
    if path is None or runner._resume_point is not None:
        return None
    if runner._load_from is not None:
        raise UserError(
            f'{option} {path} fills the encoder, and load_from={runner._load_from} would overwrite it: leave one out'
        )
    if is_sharded(runner.model):
        raise UserError(
            f'{option} {path} cannot fill a model whose parameters are split: '
            "set model_wrapper_cfg.type='repre_mm.DistributedDataParallel'"
        )
    model = unwrap(runner.model)
    model.init_weights()  # now, or the runner would do it over the loaded weights
    runner.logger.addFilter(lambda record: 'been called more than once' not in record.getMessage())
    report = load_pretrained(model.backbone, path, **options)
    for module in model.modules():
        if type(module) is type(model.backbone) and module is not model.backbone:  # the target network's
            module.load_state_dict(model.backbone.state_dict())
    runner.logger.info(f'encoder from {path}\n{report.table()}')
    return report


def check_init_cfg(runner: Runner) -> None:
    """Check that ``init_cfg=dict(type='Pretrained', ...)`` of the model or its encoder filled the encoder.

    Raises:
        CheckpointError: It filled less than :data:`MIN_LOADED`.
    """
    model = unwrap(runner.model)
    for module in (model, getattr(model, 'algorithm', None), getattr(model, 'backbone', None)):
        given = getattr(module, 'init_cfg', None) or []
        for cfg in [given] if isinstance(given, dict) else given:
            if cfg['type'] in ('Pretrained', PretrainedInit):
                path = cfg['checkpoint']
                check_loaded(runner, 'init_cfg', path, CheckpointLoader.load_checkpoint(path, 'cpu'))


def check_loaded(runner: Runner, key: str, path: str, checkpoint: dict[str, Any]) -> None:
    """Check that a checkpoint that ``key`` of the config names was loaded into the runner's encoder.

    Raises:
        CheckpointError: It filled less than :data:`MIN_LOADED`.
    """
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    model = unwrap(runner.model)
    encoder = getattr(model, 'backbone', model)
    # By values: encoders that read files themselves may convert the names.
    known = {_fingerprint(value) for value in state.values() if isinstance(value, Tensor)}
    sizes = {parameter: parameter.numel() for parameter in encoder.parameters()}
    loaded = sum(size for parameter, size in sizes.items() if _fingerprint(parameter) in known)
    share = loaded / max(sum(sizes.values()), 1)
    if share < MIN_LOADED:
        raise CheckpointError(
            f'{key}: {path} filled {share:.1%} of the encoder, which would train from random weights: the file holds '
            f'another model, or has other names ({", ".join(list(state)[:2])}, ...) than the encoder '
            f'({", ".join(list(encoder.state_dict())[:2])}, ...). Use {_option(runner)} {path} instead, which converts '
            'the names of other libraries'
        )


def _fingerprint(tensor: Tensor) -> tuple[float, ...]:
    """Size and eight values of a tensor, from all over it."""
    tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    picked = tensor.detach().flatten()[:: max(tensor.numel() // 8, 1)][:8]
    return tensor.numel(), *picked.to('cpu', torch.float32).tolist()


def _option(runner: Runner) -> str:
    return '--pretrained' if starts_from_encoder(runner.cfg) else '--init-from'
