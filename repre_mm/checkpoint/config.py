"""Build the encoder that a config describes."""

from __future__ import annotations

import copy

from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from repre_mm.checkpoint.reading import CheckpointError
from repre_mm.registry import MODELS


def build_encoder(cfg: Config) -> nn.Module:
    """Build a config's encoder, with random weights.

    Args:
        cfg: Its ``model`` has a ``backbone``, or is RePre around an ``algorithm`` that has one.

    Raises:
        CheckpointError: There is no encoder.
    """
    model = cfg.get('model') or {}
    backbone = (model.get('algorithm') or model).get('backbone')
    if not backbone:
        where = cfg.filename or 'the config'
        raise CheckpointError(f'{where} has no encoder: neither model.backbone nor model.algorithm.backbone')
    backbone = copy.deepcopy(backbone)
    backbone.pop('init_cfg', None)  # the weights come from a checkpoint
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        return MODELS.build(backbone)
