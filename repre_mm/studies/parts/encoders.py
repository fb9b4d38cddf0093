"""Encoders as the command line names them: a config with its checkpoint, or a timm model with a file of weights."""

from __future__ import annotations

import ast
import inspect
import logging
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from repre_mm.checkpoint import load_pretrained
from repre_mm.evaluation.pictures import FrozenEncoder
from repre_mm.evaluation.protocol import RANDOM, EvaluationError
from repre_mm.models.backbones import TimmBackbone

_GRAMMAR = 'NAME=CONFIG:CHECKPOINT, NAME=CONFIG:random or NAME=timm:MODEL[,OPTION=VALUE...][:FILE]'


def parse_encoder(text: str) -> tuple[str, str, str]:
    """Take ``NAME=CONFIG:CHECKPOINT`` or ``NAME=timm:MODEL[,OPTION=VALUE...][:FILE]`` apart.

    Returns:
        Name, config (or ``'timm:MODEL,...'``), and checkpoint, ``'random'`` where timm's has none.

    Raises:
        EvaluationError: It is neither.
    """
    name, equals, rest = text.partition('=')
    model, colon, checkpoint = rest.removeprefix('timm:').partition(':')
    if (
        not (name and equals and model)
        or (not rest.startswith('timm:') and not checkpoint)
        or (colon and not checkpoint)
    ):
        raise EvaluationError(f'encoder {text!r} is not of the form {_GRAMMAR}')
    return (name, f'timm:{model}', checkpoint or RANDOM) if rest.startswith('timm:') else (name, model, checkpoint)


def load_named_encoder(
    config: str, checkpoint: str, *, size: int | None = None, device: str = 'cpu', seed: int = 0
) -> FrozenEncoder:
    """Build and fill an encoder of :func:`parse_encoder`.

    The images of a timm model are normalised as its pretrained tag says (``'vit_base_patch16_224.dino'``), and as
    ImageNet's mean and deviation say where it is named without a tag.

    Args:
        config: A path, or ``'timm:MODEL,...'`` with options of :class:`repre_mm.models.TimmBackbone`.
        checkpoint: A file that :func:`repre_mm.checkpoint.load_pretrained` recognises, or ``'random'``.
        size: Side of the images in pixels; default: the config's ``image_size``, or the timm model's.
        device: For the encoder.
        seed: Of random weights.

    Raises:
        EvaluationError: There is no such file, or the config has no encoder or size.
        repre_mm.checkpoint.CheckpointError: The checkpoint is unreadable or does not fit.
        ValueError: timm knows no such model or option.
    """
    if checkpoint != RANDOM and not Path(checkpoint).is_file():
        raise EvaluationError(f"there is no checkpoint {checkpoint} (for random weights write 'random')")
    if config.startswith('timm:'):
        return _load_timm(config.removeprefix('timm:'), checkpoint, size, device, seed)
    if not Path(config).is_file():
        raise EvaluationError(f'there is no config {config}')
    return FrozenEncoder.load(Config.fromfile(config), checkpoint, size=size, device=device, seed=seed)


def _load_timm(text: str, checkpoint: str, size: int | None, device: str, seed: int) -> FrozenEncoder:
    name, *pairs = text.split(',')
    options = dict(_option(text, pair) for pair in pairs)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = TimmBackbone(name, **options)
        known = module.model.pretrained_cfg
        size = size or options.get('img_size') or known['input_size'][-1]
        if 'img_size' not in options and 'img_size' in inspect.signature(type(module.model).__init__).parameters:
            torch.manual_seed(seed)
            module = TimmBackbone(name, img_size=size, **options)
    if checkpoint != RANDOM:
        report = load_pretrained(module, checkpoint)
        level = logging.INFO if report.complete else logging.WARNING
        print_log(f'{checkpoint}: {report.table()}', logger='current', level=level)
    tag = timm.get_pretrained_cfg(name) if '.' in name else None
    mean, std = (tag.mean, tag.std) if tag else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    module.eval()
    module.requires_grad_(False)
    scaled = ([255 * value for value in values] for values in (mean, std))
    return FrozenEncoder(module.to(device), *scaled, size)


def _option(text: str, pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition('=')
    if not equals:
        raise EvaluationError(f'timm:{text}: {pair!r} is no OPTION=VALUE')
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
