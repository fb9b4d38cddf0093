"""Files and folders that a config names and that are not there, or not what they should be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from repre_mm.checkpoint import CheckpointError, read_checkpoint


def path_faults(cfg: Config) -> Iterator[str]:
    """A work dir that cannot be written, checkpoints that do not exist or cannot be read."""
    yield from _work_dir_faults(Path(cfg.work_dir))
    named = [('load_from', cfg.get('load_from'))] + list(_checkpoints(cfg.get('model'), 'model'))
    for key, value in named:
        if isinstance(value, str) and '://' not in value:
            try:
                read_checkpoint(value, map_location='meta')
            except CheckpointError as error:
                yield f'{key}: {error}'


def _work_dir_faults(work_dir: Path) -> Iterator[str]:
    path = work_dir.absolute()
    nearest = next(parent for parent in (path, *path.parents) if os.path.exists(parent))
    if not nearest.is_dir():
        yield f'work_dir={str(work_dir)!r}: {nearest} is a file; choose another folder with --work-dir'
    elif not os.access(nearest, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        yield f'work_dir={str(work_dir)!r}: no permission to write in {nearest}; choose another folder with --work-dir'


def _checkpoints(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """``init_cfg=dict(type='Pretrained', checkpoint=...)``, at any depth."""
    if isinstance(node, dict):
        if node.get('type') == 'Pretrained':
            yield f'{path}.checkpoint', node.get('checkpoint')
        for key, value in node.items():
            yield from _checkpoints(value, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _checkpoints(value, f'{path}.{index}')
