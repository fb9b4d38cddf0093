"""A small toy scene set that the tests of this folder share."""

import pytest
from fixtures.toys import SMALL

from repre_mm.toy_scenes import make_toy_scenes


@pytest.fixture(scope='session')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('toy') / 'set'
    make_toy_scenes(path, workers=2, **SMALL)
    return path
