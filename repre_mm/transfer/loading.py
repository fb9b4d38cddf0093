"""Load an encoder to start from, or a trained model to score, into a classifier, detector or segmentor.

mmengine's own loading skips what does not fit; here that is an error.
"""

from __future__ import annotations

import os
from typing import Any

from mmengine.runner import Runner
from torch import nn

from repre_mm.checkpoint import CheckpointError, LoadReport, load_pretrained, read_checkpoint
from repre_mm.distributed.sharding import is_sharded
from repre_mm.engine.runner import ResumableRunner
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import unwrap


def start_from(runner: ResumableRunner, path: str | os.PathLike | None, **options: Any) -> LoadReport | None:
    """Initialise a runner's model and load its encoder from a checkpoint.

    Args:
        runner: Not yet training. One that resumes is left alone.
        path: See :func:`repre_mm.checkpoint.load_pretrained`; None leaves the weights random.
        **options: ``trust``, ``prefix``, ``source_grid``: see :func:`repre_mm.checkpoint.load_pretrained`.

    Returns:
        The report, which is also logged; None where nothing was loaded.

    Raises:
        repre_mm.checkpoint.CheckpointError: The file is unreadable or fills too little of the encoder.
        UserError: The config would load a whole model (``load_from``) over it, or splits the parameters.
    """
    if runner._resume_point is not None:
        return None
    if path is not None and runner._load_from is not None:
        raise UserError(
            f'--pretrained {path} fills the encoder, and load_from={runner._load_from} would overwrite it: '
            'leave one out'
        )
    if path is None and runner._load_from is None:
        runner.logger.warning('no --pretrained CHECKPOINT: the encoder starts from random weights')
    if path is None:
        return None
    if is_sharded(runner.model):
        raise UserError(
            f'--pretrained {path} cannot fill a model whose parameters are split: '
            "set model_wrapper_cfg.type='repre_mm.DistributedDataParallel'"
        )
    model = _unwrapped(runner)
    # Before the loading: otherwise the runner would initialise the model afterwards.
    model.init_weights()
    runner.logger.addFilter(lambda record: 'been called more than once' not in record.getMessage())
    report = load_pretrained(model.backbone, path, **options)
    runner.logger.info(f'encoder from {path}\n{report.table()}')
    return report


def load_trained(runner: Runner, path: str | os.PathLike, *, trust: bool = False) -> None:
    """Load a runner's whole model from a training checkpoint, to score it.

    Raises:
        repre_mm.checkpoint.CheckpointError: The file is unreadable, was trained for other classes, or does not fit.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    trained_for = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    theirs = list(trained_for.get('classes') or ())
    ours = list(runner.cfg.test_dataloader.dataset.get('metainfo', {}).get('classes', theirs))
    if theirs and theirs != ours:
        raise CheckpointError(
            f'{path} was trained for {_few(theirs)}, but the data has {_few(ours)}: name the data that it was trained '
            'for with --data, and its classes with --classes if they were given then'
        )
    try:
        _unwrapped(runner).load_state_dict(checkpoint.get('state_dict', checkpoint))
    except RuntimeError as error:
        first = '\n'.join(str(error).splitlines()[:4])
        raise CheckpointError(f'{path} does not fit {runner.cfg.filename}, was it trained with it? {first}') from error


def _unwrapped(runner: Runner) -> nn.Module:
    return unwrap(runner.model)


def _few(names: list[str], limit: int = 5) -> str:
    more = ', ...' if len(names) > limit else ''
    return f'{len(names)} class{"es" if len(names) != 1 else ""} ({", ".join(names[:limit])}{more})'
