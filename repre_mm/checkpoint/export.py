"""Export the encoder alone in the names of another library: tensors only, with a note of their origin."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from repre_mm.checkpoint.encoder import check_finite, known_heads
from repre_mm.checkpoint.layouts import LAYOUTS, State, convert, describe, get_layout
from repre_mm.checkpoint.provenance import provenance
from repre_mm.checkpoint.reading import EXPORT_FORMAT, SAFETENSORS_META, CheckpointError, read_checkpoint
from repre_mm.checkpoint.recognise import Source, recognise
from repre_mm.utils.atomic import write_atomically
from repre_mm.version import __version__

TARGETS = ('mmpretrain', 'mmdet', 'mmseg', 'timm', 'safetensors')

# mmpretrain's norms of outputs that other libraries do not give: after average pooling (ViT), of shallower stages
# (Swin). The last map is the same without them.
_EXTRA_NORMS = {'ViT': ('ln2.',), 'Swin': ('norm0.', 'norm1.', 'norm2.')}


def export_encoder(
    path: str | os.PathLike,
    out: str | os.PathLike,
    to: str,
    *,
    trust: bool = False,
    prefix: str | None = None,
) -> dict[str, Any]:
    """Write the encoder of a checkpoint for a library; the file appears whole or not at all.

    ``torch.save`` files hold ``{'state_dict': ..., 'meta': ...}``; a safetensors file has the encoder's own names, and
    the meta data in its header.

    Args:
        path: Any checkpoint that is recognised.
        out: The file to write.
        to: One of ``TARGETS``.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        prefix: See :func:`repre_mm.checkpoint.recognise`.

    Returns:
        The meta data: format, names, prefix, left_out (norms that the library's encoder lacks, if any), family,
        architecture, the training (see :func:`repre_mm.checkpoint.provenance.provenance`), the release, the count of
        numbers, the sha256 of the tensors, and the version that exported it.

    Raises:
        CheckpointError: The source is unreadable or not recognised, the library cannot hold the encoder, or ``out``
            cannot be written.
    """
    out = Path(out).expanduser()
    _check_out(out, to)
    if out.exists() and out.samefile(Path(path).expanduser()):
        raise CheckpointError(f'cannot write {out}: it is the checkpoint to export; choose another name')
    checkpoint = read_checkpoint(path, trust=trust)
    known = provenance(checkpoint)
    try:
        source = recognise(checkpoint, prefix=prefix)
        check_finite(source)
        state, names = _for_library(source, to)
    except CheckpointError as error:
        raise CheckpointError(f'cannot export {path}: {error}') from error
    if heads := known_heads(checkpoint, source):
        known['num_heads'] = heads
    if source.release:  # what the file hands on of it, for identify
        known['release'] = asdict(source.release) | {'prefixes': {source.release.default: names['prefix']}}

    # A view would be saved with all of what it looks into.
    state = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    meta = {
        'format': EXPORT_FORMAT,
        **names,
        'family': source.layout.family if source.layout else 'unknown',
        'architecture': describe(source.state, source.layout) if source.layout else {},
        **known,
        'source': f'{Path(path).name}: {source}',
        'numbers': sum(value.numel() for value in state.values()),
        'sha256': tensors_sha256(state),
        'exporter': f'repre_mm {__version__}',
    }
    _write(out, state, meta)
    if tensors_sha256(read_checkpoint(out)['state_dict']) != meta['sha256']:
        raise CheckpointError(f'{out} reads back differently: the disk or its file system is damaged')
    return meta


def tensors_sha256(state: State) -> str:
    """Hash names, types, shapes and bytes, sorted by name: equal for equal tensors in any file format."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f'{name} {value.dtype} {list(value.shape)}\n'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write(out: Path, state: State, meta: dict[str, Any]) -> None:
    def write(draft: Path) -> None:
        with draft.open('wb') as file:  # given a path, torch would write the draft's name into the file
            if out.suffix == '.safetensors':
                file.write(to_safetensors(state, {'format': 'pt', SAFETENSORS_META: json.dumps(meta)}))
            else:
                torch.save({'state_dict': state, 'meta': meta}, file)

    try:
        write_atomically(out, write)
    except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in a RuntimeError
        raise CheckpointError(f'cannot write {out}: {error}') from error


def _check_out(out: Path, to: str) -> None:
    if to not in TARGETS:
        raise CheckpointError(f'cannot export to {to!r}: choose one of {", ".join(TARGETS)}')
    if out.is_dir() or not out.parent.is_dir():
        raise CheckpointError(f'cannot write {out}: {"it is a folder" if out.is_dir() else f"no folder {out.parent}"}')
    if (out.suffix == '.safetensors') != (to == 'safetensors'):
        raise CheckpointError(
            f'cannot write {out} with --to {to}: use the ending .safetensors for --to safetensors, .pth for the others'
        )


def _for_library(source: Source, to: str) -> tuple[State, dict[str, Any]]:
    """Convert to a library's names; also returns whose names these are, their prefix, and what was left out."""
    state, layout = source.state, source.layout
    if to == 'safetensors':
        return state, {'names': layout.library if layout else 'as in the source', 'prefix': ''}
    if layout is None:
        # TimmBackbone keeps timm's names.
        if to == 'timm' and source.place.endswith('backbone.model.'):
            return state, {'names': 'timm', 'prefix': ''}
        raise CheckpointError(
            f'its family has no table of names ({source}): export with --to safetensors, or --to timm where it was '
            'trained as repre_mm.TimmBackbone'
        )
    # mmdet and mmseg run mmpretrain's encoders; mmseg has a ViT with names of its own too.
    libraries = [each.library for each in LAYOUTS if each.family == layout.family]
    target = get_layout(layout.family, to if to in libraries else 'mmpretrain')
    # OpenMMLab's backbones expect a prefix, except mmseg's own ViT.
    prefix = 'backbone.' if target.library == 'mmpretrain' and to != 'timm' else ''
    names: dict[str, Any] = {'names': target.library, 'prefix': prefix}
    if target != layout:
        state = convert(state, layout, target)
        if layout.library == 'mmpretrain':
            names['left_out'] = [name for name in state if name.startswith(_EXTRA_NORMS.get(layout.family, ()))]
            state = {name: value for name, value in state.items() if name not in names['left_out']}
        if target.library == 'mmseg' and (lost := [name for name in state if 'gamma' in name or name == 'dist_token']):
            raise CheckpointError(f"mmseg's ViT has no place for {lost[0]}: its mmpretrain.VisionTransformer has")
    return {prefix + name: value for name, value in state.items()}, names
