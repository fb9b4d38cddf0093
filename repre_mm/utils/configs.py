"""Find things in a config: what it trains, and every dictionary of a kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict


def is_transfer(cfg: Config) -> bool:
    """Return whether a config trains a detector (mmdet) or a segmentor (mmseg)."""
    return cfg.get('default_scope') in ('mmdet', 'mmseg')


def starts_from_encoder(cfg: Config) -> bool:
    """Return whether a config trains a classifier, detector or segmentor on top of a pre-trained encoder."""
    return is_transfer(cfg) or str(cfg.model.type).endswith('ImageClassifier')


def walk(node: Any, path: str = '') -> Iterator[tuple[str, ConfigDict]]:
    """Yield every dictionary in a part of a config with its path, such as ``model.neck``; parents come first."""
    if isinstance(node, dict):
        yield path, node
        children = node.items()
    else:
        children = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, child in children:
        yield from walk(child, f'{path}.{key}' if path else str(key))


def find_nodes(node: Any, key: str, value: Any = None) -> Iterator[ConfigDict]:
    """Yield every dictionary in a part of a config that has the key, and the value where one is given."""
    for _, found in walk(node):
        if key in found and (value is None or found[key] == value):
            yield found
