"""Describe a checkpoint file in a few lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from repre_mm.checkpoint.encoder import known_heads
from repre_mm.checkpoint.export import tensors_sha256
from repre_mm.checkpoint.layouts import describe
from repre_mm.checkpoint.provenance import provenance
from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint
from repre_mm.checkpoint.recognise import recognise


def inspect_checkpoint(path: str | os.PathLike, *, prefix: str | None = None, trust: bool = False) -> dict[str, Any]:
    """Describe a checkpoint.

    Args:
        path: The file.
        prefix: Where the encoder is, if not where it is found.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.

    Returns:
        Title -> text or number, in the order in which to show them.

    Raises:
        CheckpointError: The file is unreadable, or no encoder is found.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    try:
        source = recognise(checkpoint, prefix=prefix)
    except CheckpointError as error:
        raise CheckpointError(f'cannot use {path}: {error}') from error
    facts: dict[str, Any] = {
        'file': f'{path} ({Path(path).expanduser().stat().st_size / 2**20:.1f} MiB)',
        'is': source.what,
        'encoder at': source.place or 'top level',
    }
    if release := source.release:
        which = {name: f'{name} at {place or "top level"}' for name, place in release.prefixes.items()}
        which[release.default] += ' (the one that its authors evaluate)'
        facts['release'] = release.method
        facts['encoders'] = ', '.join(which.values())
        facts['timm model'] = release.timm
        pooling = {'cls': 'class token', 'mean': 'mean of the patches'}[release.pooling]
        facts['normalisation'] = f'mean {release.mean}, std {release.std}; features: {pooling}'
    elif source.others:
        facts['others at'] = ', '.join(source.others)
    facts['names'] = source.layout or 'unknown'
    if source.layout:
        architecture = describe(source.state, source.layout)
        facts['architecture'] = ', '.join(f'{name} {value}' for name, value in architecture.items())
    facts['tensors'] = f'{len(source.state):,}, {sum(value.numel() for value in source.state.values()):,} numbers'
    if source.heads:
        facts['left out'] = ', '.join(source.heads[:5]) + (', ...' if len(source.heads) > 5 else '')
    if heads := known_heads(checkpoint, source):
        facts['num_heads'] = heads
    facts['sha256'] = tensors_sha256(source.state)
    return facts | provenance(checkpoint)
