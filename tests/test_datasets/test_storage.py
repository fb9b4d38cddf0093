"""Patterns of files; servers that fail for a moment, or for good."""

import fsspec
import pytest
from fixtures.places import WRITERS

from repre_mm.datasets import DatasetError, ImageFolder
from repre_mm.datasets.storage import expand

LOAD = [{'type': 'repre_mm.LoadImage'}]


def test_patterns(tmp_path):
    assert expand('a-{08..11}.tar') == ['a-08.tar', 'a-09.tar', 'a-10.tar', 'a-11.tar']
    assert expand('{x,y}{0..1}') == ['x0', 'x1', 'y0', 'y1']
    for name in ('b.tar', 'a.tar', 'c.txt'):
        (tmp_path / name).touch()
    assert expand(f'{tmp_path}/*.tar') == [f'{tmp_path}/a.tar', f'{tmp_path}/b.tar']
    with pytest.raises(DatasetError, match=r'there are no files .*\*\.parquet'):
        expand(f'{tmp_path}/*.parquet')


def test_a_server_that_fails_ends_the_run_and_replaces_nothing(images, tmp_path, monkeypatch):
    dataset = ImageFolder(WRITERS['url'](images, tmp_path / 'copy'), pipeline=LOAD)
    store, waits = type(fsspec.filesystem('memory')), []
    monkeypatch.setattr('time.sleep', waits.append)
    answer = store.cat_file
    failures = [OSError('no route'), OSError('no route')]
    monkeypatch.setattr(
        store, 'cat_file', lambda *args, **kwargs: answer(*args, **kwargs) if not failures else _raise(failures.pop())
    )
    assert dataset[1]['img'].shape == (40, 40, 3)  # the third attempt succeeds
    assert waits == [1, 2]
    monkeypatch.setattr(store, 'cat_file', lambda *args, **kwargs: _raise(ConnectionError('no route')))
    with pytest.raises(
        DatasetError, match=r'copy/dark/1\.jpg cannot be read: ConnectionError: no route\. Check the add'
    ):
        dataset[1]
    monkeypatch.setattr(store, 'cat_file', lambda *args, **kwargs: _raise(PermissionError('ExpiredToken')))
    with pytest.raises(DatasetError, match=r'PermissionError: ExpiredToken\. Renew or set your credentials'):
        dataset[1]


def _raise(error: Exception):
    raise error
