"""Listing of folders; what is refused is tested with image folders."""

import os
from pathlib import Path

import pytest

from repre_mm.datasets import find_images
from repre_mm.datasets.listing import walk


def put(root: Path, *names: str) -> Path:
    """Make empty files: a listing reads names only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_any_nesting_sorted_hidden_skipped(tmp_path):
    put(tmp_path, 'b/deep/er/2.jpg', 'a.PNG', 'b/1.JPEG', 'b-x/4.png', 'b.gif', '.hidden/3.jpg', '.4.jpg', 'b/README')
    assert find_images(tmp_path) == ['a.PNG', 'b-x/4.png', 'b.gif', 'b/1.JPEG', 'b/deep/er/2.jpg']
    assert find_images(tmp_path, ['.PNG']) == ['a.PNG', 'b-x/4.png']
    assert list(walk(tmp_path)) == sorted(walk(tmp_path))


def test_links_are_followed_without_loops(tmp_path):
    put(tmp_path / 'store', 'x/1.png')
    data = put(tmp_path / 'data', 'y/2.png')
    (data / 'z').symlink_to(tmp_path / 'store')
    (data / 'y' / 'up').symlink_to(data)
    (data / 'y' / '3.png').symlink_to(tmp_path / 'store' / 'x' / '1.png')
    (data / 'y' / 'dead.png').symlink_to(tmp_path / 'gone.png')
    assert find_images(data) == ['y/2.png', 'y/3.png', 'y/dead.png', 'z/x/1.png']


def test_a_walk_goes_step_by_step(tmp_path, monkeypatch):
    put(tmp_path, 'a/1.png', 'b/2.png')
    paths = walk(tmp_path)
    assert next(paths) == 'a/1.png'
    monkeypatch.setattr(os, 'scandir', None)  # b is not listed before it is reached
    with pytest.raises(TypeError):
        next(paths)
