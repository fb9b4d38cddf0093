"""Fixtures of several test files of the data sets: a folder of images, and caches of their own."""

from pathlib import Path

import pytest
from fixtures.data import make_image_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('datasets.config.HF_DATASETS_CACHE', tmp_path / 'cache', raising=False)


@pytest.fixture
def images(tmp_path) -> Path:
    """Eight images in class folders."""
    return make_image_folder(tmp_path / 'data', train=8, val=0) / 'train'
