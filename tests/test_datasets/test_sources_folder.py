"""Folders: counting and drawing without listing all; the rest is tested with listings and image folders."""

import pytest

from repre_mm.datasets import DatasetError
from repre_mm.datasets.sources import folder as module
from repre_mm.datasets.sources.folder import Folder


@pytest.fixture
def source(tmp_path):
    for name in ('a/1.png', 'a/2.png', 'b/3.png', 'b/4.png', 'c/5.png', 'c/x.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return Folder(str(tmp_path))


def test_counting_stops_at_the_limit(source, monkeypatch):
    assert [source.count(limit) for limit in (1, 3, 9, None)] == [1, 3, 5, 5]
    listed = []
    walk = module.walk
    monkeypatch.setattr(module, 'walk', lambda *args: (listed.append(listing) or listing for listing in walk(*args)))
    source.count(1)
    assert len(listed) == 2  # the folder itself and one below it


def test_the_draw_is_the_same_each_time(source):
    entries, listed = source.draw(3, seconds=5)
    assert listed == 5 and len({entry['img_path'] for entry in entries}) == 3
    assert source.draw(3, seconds=5)[0] == entries
    some, listed = source.draw(3, seconds=0)
    assert listed == 2 and {entry['img_path'][0] for entry in some} < {'a', 'b', 'c'}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / 'a.zip').touch()
    with pytest.raises(DatasetError, match=r'not a folder but a file: .*a\.zip\. Name a folder, a list'):
        Folder(str(tmp_path / 'a.zip')).draw(1, seconds=1)
