"""Questions about a config: what it trains, and where in it something stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict


def is_transfer(cfg: Config) -> bool:
    """Whether a config detects (mmdet) or segments (mmseg), rather than pre-trains."""
    return cfg.get('default_scope') in ('mmdet', 'mmseg')


def starts_from_encoder(cfg: Config) -> bool:
    """Whether a config trains something on top of a pre-trained encoder: a classifier, detector or segmentor."""
    return is_transfer(cfg) or str(cfg.model.type).endswith('ImageClassifier')


def find_nodes(node: Any, key: str, value: Any = None) -> Iterator[ConfigDict]:
    """Every dictionary in a config that has the key, with that value if one is given."""
    if isinstance(node, dict):
        if key in node and (value is None or node[key] == value):
            yield node
        for child in node.values():
            yield from find_nodes(child, key, value)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from find_nodes(child, key, value)
