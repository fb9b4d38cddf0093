"""Build the model of a config, as mmengine's Runner does."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope


def build_model(cfg: Config) -> BaseModel:
    """Build ``cfg.model`` with ``cfg.data_preprocessor``, in the config's scope; weights are not initialised."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        return MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
