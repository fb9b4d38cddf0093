"""Load a trained classifier, detector or segmentor, to score it; what does not fit is an error."""

from __future__ import annotations

import os

from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.datasets import LoadImage, LoadLabelMap
from repre_mm.utils.modules import unwrap


def load_trained(model: nn.Module, cfg: Config, path: str | os.PathLike, *, trust: bool = False) -> list[str]:
    """Load the whole model of a config from a training checkpoint, to score it, and return its classes.

    Raises:
        repre_mm.checkpoint.CheckpointError: The file is unreadable, was trained for other classes, or does not fit.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    trained_for = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    theirs = list(trained_for.get('classes') or ())
    ours = list(cfg.test_dataloader.dataset.get('metainfo', {}).get('classes', theirs))
    if theirs and theirs != ours:
        was, is_ = (f'{len(names)} classes ({", ".join(names[:5])}, ...)' for names in (theirs, ours))
        raise CheckpointError(
            f'{path} was trained for {was}, but the data has {is_}: name the data that it was trained for with --data, '
            'and its classes with --classes if they were given then'
        )
    try:
        unwrap(model).load_state_dict(checkpoint.get('state_dict', checkpoint))
    except RuntimeError as error:
        first = '\n'.join(str(error).splitlines()[:4])
        raise CheckpointError(f'{path} does not fit {cfg.filename}, was it trained with it? {first}') from error
    return ours


def name_damaged_files(runner: Runner) -> None:
    """Let a detector's or segmentor's test read files with this project's steps, whose errors name the file.

    The config has OpenMMLab's steps, which its inferencers look for, and which take a cut JPEG for a half-grey image.
    """
    dataset = runner.test_dataloader.dataset
    while not hasattr(dataset, 'pipeline'):
        dataset = dataset.dataset
    steps = dataset.pipeline.transforms
    for index, step in enumerate(steps):
        if type(step).__name__ == 'LoadImageFromFile' and step.color_type == 'color' and not step.to_float32:
            steps[index] = LoadImage(channel_order='bgr')
        elif type(step).__module__.startswith('mmseg.') and type(step).__name__ == 'LoadAnnotations':
            steps[index] = LoadLabelMap()
