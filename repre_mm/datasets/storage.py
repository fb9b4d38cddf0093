"""Read files by path or URL, whole or in part, with errors that name the place and the fix.

fsspec keeps one connection for each process and drops those of the process that it was forked from: ask it for a file
system where something is read, and keep nothing.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import fsspec

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.reading import ImageReadError, read_bytes
from repre_mm.utils.errors import UserError

T = TypeVar('T')

_INSTALL = "pip install 'repre_mm[data]'"


def is_remote(path: str) -> bool:
    """Return whether a path is a URL."""
    return '://' in path


def read_part(path: str, offset: int = 0, size: int | None = None, name: str | None = None) -> bytes:
    """Read bytes of a file; what a server refuses for a moment is asked for again.

    Args:
        path: Path or URL of the file.
        offset: Of the first byte.
        size: Number of bytes; None for all the others.
        name: What errors call this part; default: the path.

    Raises:
        ImageReadError: The file is missing, unreadable or cut short.
        DatasetError: The server cannot be reached, or refuses.
    """
    name = name or path
    if is_remote(path):
        end = None if size is None else offset + size
        with explained(path):
            filesystem, key = fsspec.url_to_fs(path)
            try:
                data = _retry(lambda: filesystem.cat_file(key, start=offset or None, end=end))
            except FileNotFoundError as error:
                raise ImageReadError(name, 'there is no such file') from error
        if size is not None and len(data) > size:
            raise DatasetError(
                f'{path}: its server sends whole files only, no byte ranges. Copy the file to another place'
            )
    else:
        data = read_bytes(path, offset, size, name)
    if size is not None and len(data) < size:
        raise ImageReadError(name, f'{path} ends {size - len(data):,} bytes too early')
    return data


def version(path: str) -> str | list[int]:
    """Return what changes with a file or a folder: time and size, or what a server says of a URL.

    Raises:
        DatasetError: There is no such file, or the server cannot be reached, or refuses.
    """
    with explained(path):
        if not is_remote(path):
            status = os.stat(path)
            return [status.st_mtime_ns, status.st_size]
        filesystem, key = fsspec.url_to_fs(path)
        return filesystem.ukey(key)


def expand(pattern: str) -> list[str]:
    """List the files of a pattern: ``{000..003}`` counts, ``{a,b}`` names, ``*`` finds what is there, sorted.

    Raises:
        DatasetError: Nothing matches ``*``.
    """
    found = []
    for path in _expand_braces(pattern):
        if not glob.has_magic(path):
            found.append(path)
            continue
        with explained(path):
            filesystem, key = fsspec.url_to_fs(path)
            matches = sorted(filesystem.glob(key))
            found += map(filesystem.unstrip_protocol, matches) if is_remote(path) else matches
    if not found:
        raise DatasetError(f'there are no files {pattern}. Correct the pattern')
    return found


def _expand_braces(pattern: str) -> Iterator[str]:
    match = re.search(r'\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}', pattern)
    if match is None:
        yield pattern
        return
    first, last, names = match.groups()
    values = names.split(',') if names else [f'{i:0{len(first)}}' for i in range(int(first), int(last) + 1)]
    for value in values:
        yield from _expand_braces(pattern[: match.start()] + value + pattern[match.end() :])


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn what goes wrong with a file or a server into one line that names the place and the fix.

    Raises:
        DatasetError: Anything else than an error of our own was raised inside.
    """
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise DatasetError(f'{path}: {error}. {_INSTALL}') from error
    except FileNotFoundError as error:
        raise DatasetError(f'there is no {path}: correct the name, or copy it there') from error
    except Exception as error:  # of whatever library is behind the URL
        raise DatasetError(f'{path} cannot be read: {type(error).__name__}: {error}. {_fix(path, error)}') from error


def _fix(path: str, error: Exception) -> str:
    if not is_remote(path):
        return 'Make it readable, or copy it again'
    refused = isinstance(error, PermissionError) or 'Credential' in type(error).__name__
    if refused or getattr(error, 'status', None) in (401, 403):
        return (
            'Renew or set your credentials (for S3: AWS_PROFILE, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and '
            'AWS_SESSION_TOKEN), or ask for the right to read'
        )
    return 'Check the address and the network (for an S3 server of your own: AWS_ENDPOINT_URL)'


def _retry(call: Callable[[], T]) -> T:
    for wait in (1, 2, None):  # seconds
        try:
            return call()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception:  # of whatever library is behind the URL
            if wait is None:
                raise
            time.sleep(wait)
