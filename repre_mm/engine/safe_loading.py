"""Make mmengine read checkpoint files by the tensors-only reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier
from mmengine.runner.checkpoint import CheckpointLoader

from repre_mm.checkpoint import read_checkpoint


def install_safe_loading() -> None:
    """Replace mmengine's readers of files and web addresses, for the rest of the process.

    mmengine's own readers unpickle, and so run, whatever torch refuses to read. Every
    :class:`~repre_mm.engine.ResumableRunner` calls this before it loads anything. Call it yourself before you build
    another Runner, or call ``init_weights()`` on a model whose ``init_cfg`` names a file.
    """
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), loader=load_from_http, force=True)


def load_from_local(path: str, map_location: Any = None) -> dict[str, Any]:
    """Read a file for ``resume``, ``load_from`` or ``init_cfg``.

    Raises:
        CheckpointError: See :func:`repre_mm.checkpoint.read_checkpoint`.
    """
    return read_checkpoint(path, map_location=map_location or 'cpu')


def load_from_http(url: str, map_location: Any = None) -> dict[str, Any]:
    """Download a file to torch's cache, once per machine, and read it as :func:`load_from_local` does."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(url).path).name
    if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))  # moved into place when complete
    barrier()
    return load_from_local(str(path), map_location)
