"""Read checkpoint files, tensors only: a file from elsewhere must not be able to run code."""

import json
import logging
import os
import re
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from safetensors import SafetensorError, safe_open

from repre_mm.utils.errors import UserError

# First bytes of files that are often mistaken for checkpoints, and the cause.
_LOOKALIKES = {
    re.compile(rb'\s*<(!doctype|html|\?xml)', re.I): 'it is a web page: the download was redirected or refused',
    re.compile(rb'version https://git-lfs'): 'it is a Git LFS pointer, not the file itself: run `git lfs pull`',
}
_ZIP_MAGIC = b'PK\x03\x04'
# A safetensors file starts with the length of its header in 8 bytes, then the header, in JSON.
_SAFETENSORS = re.compile(rb'[\s\S]{6}\0\0\{"')
#: Where the header of a safetensors file holds our meta data, as JSON.
SAFETENSORS_META = 'repre_mm'
#: In ``meta['format']`` of what :func:`repre_mm.checkpoint.export_encoder` writes.
EXPORT_FORMAT = 'repre_mm encoder 1'


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit; the message names the path, the cause and the fix."""


def read_checkpoint(path: str | os.PathLike, *, map_location: Any = 'cpu', trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint written by MMEngine, ``torch.save`` or safetensors.

    Only tensors, plain containers, NumPy arrays, MMEngine's log history and the options of a training (the plain
    values of an ``argparse.Namespace``) are read; nothing in the file is run.

    Args:
        path: The file.
        map_location: As in ``torch.load``; ``'meta'`` leaves the tensors' numbers in the file.
        trust: Unpickle everything, which may run any code of the file.

    Returns:
        The dictionary that the file holds; of a safetensors file ``{'state_dict': tensors, 'meta': header}``.

    Raises:
        CheckpointError: The file is missing, damaged, no checkpoint, no dictionary, or needs ``trust``.
    """
    path = Path(path).expanduser()
    head = _read_head(path)
    if _SAFETENSORS.match(head):
        return _read_safetensors(path, map_location)
    mmap = map_location == 'meta' and head.startswith(_ZIP_MAGIC)
    try:
        checkpoint = _load(path, {'map_location': map_location, 'weights_only': not trust, 'mmap': mmap})
    except UnpicklingError as error:
        raise CheckpointError(_unpickling_message(path, str(error))) from error
    except Exception as error:  # a damaged file surfaces as almost any exception of the unpickler
        if head.startswith(_ZIP_MAGIC):
            cause = 'the file is truncated or damaged: copy or download it again, or use an older checkpoint'
        else:
            cause = 'it is not a checkpoint written by torch.save, or it is damaged'
        raise CheckpointError(f'cannot read {path}: {cause} ({_first_line(error)})') from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'cannot use {path}: it holds a {type(checkpoint).__name__}, not a dictionary. Save model.state_dict()'
        )
    return checkpoint


class _Unread:
    """Placeholder for an object of a class that is not allowed; it keeps nothing of what the file says of it."""

    path = ''

    def __new__(cls, *args: Any, **kwargs: Any) -> '_Unread':
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _load(path: Path, options: dict[str, Any]) -> Any:
    """``torch.load`` that drops what is not allowed from a Namespace, and raises UnpicklingError for it elsewhere."""
    with torch.serialization.safe_globals(_allowed_globals()):
        try:
            return torch.load(path, **options)
        except UnpicklingError:
            if not zipfile.is_zipfile(path):  # torch lists the classes of its zip format only
                raise
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            if not unsafe:
                raise
    classes = [(type('_Unread', (_Unread,), {'path': name}), name) for name in unsafe]
    with torch.serialization.safe_globals([*_allowed_globals(), *classes]):
        checkpoint = torch.load(path, **options)
    left_out: list[str] = []
    if found := next(_unread(checkpoint, left_out), None):
        raise UnpicklingError(f'Unsupported class {found}')
    print_log(f'{path}: left out of its options: {", ".join(left_out)}', logger='current', level=logging.WARNING)
    return checkpoint


def _unread(value: Any, left_out: list[str]) -> Iterator[str]:
    """Find the classes that were not read; delete those in a Namespace and note them in ``left_out``."""
    if isinstance(value, Namespace):
        for name, inside in list(vars(value).items()):
            if found := next(_unread(inside, left_out), None):
                delattr(value, name)
                left_out.append(f'{name} ({found})')
    elif isinstance(value, _Unread) or (isinstance(value, type) and issubclass(value, _Unread)):
        yield value.path
    elif isinstance(value, (dict, list, tuple, set)):
        for inside in value.items() if isinstance(value, dict) else value:
            yield from _unread(inside, left_out)


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    try:
        with safe_open(path, framework='pt', device=str(map_location)) as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise CheckpointError(
            f'cannot read {path}: the safetensors file is truncated or damaged: copy or download it again '
            f'({_first_line(error)})'
        ) from error
    try:
        meta = json.loads(header[SAFETENSORS_META])
    except (KeyError, ValueError):  # not one of ours
        meta = header
    return {'state_dict': tensors, 'meta': meta}


def _read_head(path: Path) -> bytes:
    """Read the first bytes; refuse what is obviously no checkpoint."""
    if path.is_dir():
        raise CheckpointError(f'{path} is a folder, not a checkpoint{_siblings(path)}')
    try:
        with path.open('rb') as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise CheckpointError(f'there is no checkpoint {path}{_siblings(path.parent)}') from error
    except OSError as error:
        raise CheckpointError(f'cannot open {path}: {error.strerror}') from error
    if not head:
        raise CheckpointError(f'cannot read {path}: the file is empty, as after a full disk or a broken download')
    for pattern, meaning in _LOOKALIKES.items():
        if pattern.match(head):
            raise CheckpointError(f'cannot read {path}: {meaning}')
    return head


def _siblings(folder: Path) -> str:
    """Name the newest checkpoints in a folder."""
    if not folder.is_dir():
        return f'; there is no folder {folder} either'
    found = sorted(folder.glob('*.pth'), key=lambda file: file.stat().st_mtime, reverse=True)
    return f'; {folder} holds {", ".join(file.name for file in found[:5]) or "no *.pth file"}'


def _unpickling_message(path: Path, error: str) -> str:
    found = re.search(r'(?:GLOBAL|function|class) (\S+)', error)
    if found is None:
        return (
            f'cannot read {path}: it is not a checkpoint written by torch.save, or it is damaged '
            f'({_first_line(error.split("WeightsUnpickler error:")[-1].strip())})'
        )
    return (
        f'refused to read {path}: besides tensors it holds {found[1]}, and rebuilding that could run code '
        'from the file. Save only its state dict where it was made; or, if you trust where it comes from, '
        'read it with trust=True (--trust on the command line)'
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _allowed_globals() -> list:
    """List what training checkpoints hold besides tensors, for ``torch.load``.

    A pickled HistoryBuffer names four of its methods by ``getattr``. With the real ``getattr`` in the list, as in
    MMEngine's own, a crafted file can reach ``exec``; here the name gives these four methods and nothing else.
    """
    allowed = [slice, np.ndarray, np.dtype, HistoryBuffer, (_history_method, 'builtins.getattr')]
    # The options of a training: DINO's, MAE's and others'; MoBY and Swin save those of yacs, read as a dictionary.
    allowed += [Namespace, (OrderedDict, 'yacs.config.CfgNode')]
    allowed += [type(np.dtype(code)) for code in '?bhilqBHILQefdFD']
    # NumPy 2 moved these two; files written under either version must load under either.
    for function in (np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]):
        allowed += [(function, f'numpy.{core}.multiarray.{function.__name__}') for core in ('core', '_core')]
    return allowed


def _history_method(owner: type, name: str) -> Any:
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(owner, name)
