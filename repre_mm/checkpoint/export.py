"""Export the encoder alone in the names of another library: tensors only, with a note of their origin."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save as to_safetensors

from repre_mm.checkpoint.encoder import build_encoder, check_finite, known_heads, load_pretrained
from repre_mm.checkpoint.layouts import LAYOUTS, State, describe, get_layout
from repre_mm.checkpoint.provenance import provenance
from repre_mm.checkpoint.reading import EXPORT_FORMAT, SAFETENSORS_META, CheckpointError, read_checkpoint
from repre_mm.checkpoint.recognise import Source, recognise
from repre_mm.checkpoint.resize import resize_position_embedding, square_grid
from repre_mm.utils.atomic import write_atomically
from repre_mm.version import __version__

TARGETS = ('mmpretrain', 'mmdet', 'mmseg', 'timm', 'torchvision', 'safetensors')

# Libraries that have no encoder of a family, or another one than mmpretrain's.
_LACKING = {'ViT': ('mmdet',), 'BEiT': ('mmdet', 'mmseg', 'torchvision')}
# mmpretrain's norms of outputs that other libraries do not give: after average pooling (ViT), of shallower stages
# (Swin). The last map is the same without them.
_EXTRA_NORMS = re.compile(r'(ln2|norm\d)\.\w+')


def export_encoder(
    path: str | os.PathLike,
    out: str | os.PathLike,
    to: str,
    *,
    trust: bool = False,
    prefix: str | None = None,
    image_size: tuple[int, int] | None = None,
    config: str | os.PathLike | None = None,
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
        image_size: (height, width) in pixels; a ViT's positions are interpolated to it as mmpretrain would at run time.
        config: The config that it was trained with: checked to fit, and noted.

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
    if config is not None:
        load_pretrained(build_encoder(Config.fromfile(config)), path, trust=trust, prefix=prefix)
        known['config'] = Path(config).name
    try:
        source = recognise(checkpoint, prefix=prefix)
        check_finite(source)
        if heads := known_heads(checkpoint, source):
            known['num_heads'] = heads
        state = dict(source.state)
        if image_size is not None:
            _resize(state, source, image_size)
        state, names = _for_library(state, source, to)
    except CheckpointError as error:
        raise CheckpointError(f'cannot export {path}: {error}') from error
    if source.release:  # what the file hands on of it, for identify
        release = asdict(source.release)
        release['prefixes'] = {source.release.default: names['prefix']}
        if image_size is not None:
            release['options']['img_size'] = image_size[0] if image_size[0] == image_size[1] else image_size
        known['release'] = release

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


def _for_library(state: State, source: Source, to: str) -> tuple[State, dict[str, Any]]:
    """Convert to a library's names; also returns whose names these are, their prefix, and what was left out."""
    layout = source.layout
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
    if to in _LACKING.get(layout.family, ()):
        raise CheckpointError(
            f'{to} has no plain {layout.family}: mmdet and mmseg run that of mmpretrain, so export with --to mmpretrain'
        )
    # mmdet's and mmseg's Swin, and every ResNet, have mmpretrain's names.
    libraries = [each.library for each in LAYOUTS if each.family == layout.family]
    target = get_layout(layout.family, to if to in libraries else 'mmpretrain')
    left_out: list[str] = []
    if target != layout:
        pivot = layout.to_pivot(state)
        strangers = target.strangers(pivot)
        left_out = [name for name in strangers if _EXTRA_NORMS.fullmatch(name)]
        state = target.from_pivot({name: value for name, value in pivot.items() if name not in left_out})
        strangers = [name for name in strangers if name not in left_out]
        lacking = [name for name in target.needs if name not in state]
        if strangers or lacking:
            cause = f'has no place for {", ".join(strangers[:5])}' if strangers else f'needs {", ".join(lacking)}'
            raise CheckpointError(f'the {layout.family} of {to} {cause}; --to mmpretrain or --to safetensors will do')
    # OpenMMLab's backbones expect a prefix, except mmseg's own ViT.
    prefix = 'backbone.' if to.startswith('mm') and (layout.family, to) != ('ViT', 'mmseg') else ''
    names: dict[str, Any] = {'names': target.library, 'prefix': prefix}
    if left_out:
        names['left_out'] = left_out
    return {prefix + name: value for name, value in state.items()}, names


def _resize(state: State, source: Source, image_size: tuple[int, int]) -> None:
    """Interpolate the positions of a ViT in place."""
    if source.layout is None or source.layout.family != 'ViT':
        raise CheckpointError('only a ViT has positions of an image size: leave image_size (--img-size) out')
    name = next((name for name in state if name.endswith(('pos_embed', 'pos_embedding'))), None)
    patch = describe(state, source.layout)['patch_size']
    if name is None or any(side % patch for side in image_size):
        raise CheckpointError(f'image_size (--img-size) must be multiples of the patch, {patch} pixels: {image_size}')
    grid = square_grid(state, name)
    if grid is None:
        raise CheckpointError(f'{name} has {state[name].shape[1]} positions, which is no square grid')
    state[name] = resize_position_embedding(state[name], grid, (image_size[0] // patch, image_size[1] // patch))
