"""Find checkpoints and a work dir in a config that do not exist or cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.utils.configs import walk


def path_faults(cfg: Config) -> Iterator[str]:
    """Find a work dir that cannot be written to, and checkpoints that do not exist or cannot be read."""
    yield from _work_dir_faults(Path(cfg.work_dir))
    named = {'load_from': cfg.get('load_from')}
    for path, node in walk(cfg.get('model'), 'model'):
        if node.get('type') == 'Pretrained':
            named[f'{path}.checkpoint'] = node.get('checkpoint')
    for key, value in named.items():
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
