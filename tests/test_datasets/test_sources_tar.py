"""Tar shards: the index, damage, shards that are missing."""

import tarfile

import pytest
from fixtures.places import write_shards

from repre_mm.datasets import DatasetError, ImageFolder, ImageReadError, open_source

LOAD = [{'type': 'repre_mm.LoadImage'}]


def test_shards_are_indexed_once(images, tmp_path, monkeypatch):
    place = write_shards(images, tmp_path / 'copy')
    entries = open_source(place).images()
    monkeypatch.setattr(tarfile, 'open', lambda *args, **kwargs: pytest.fail('indexed again'))
    assert open_source(place).images() == entries
    monkeypatch.undo()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    (images / 'dark/0.jpg').unlink()
    write_shards(images, tmp_path / 'copy')
    assert len(open_source(place).images()) == 7  # a shard that has changed is indexed anew


def test_damaged_and_missing_shards(images, tmp_path):
    place = write_shards(images, tmp_path / 'copy')
    second = tmp_path / 'copy-001.tar'
    whole = second.read_bytes()
    cuts = [second.stat().st_size // 2 // 512 * 512 + 100, len(whole) - 10240, 0]
    with tarfile.open(second) as tar:
        cuts[1] = tar.getmembers()[-1].offset  # at the border of two files, where nothing is missing but the end
    for cut in cuts:
        second.write_bytes(whole[:cut])
        with pytest.raises(DatasetError, match=r'copy-001\.tar is .*[Cc]opy it again'):
            open_source(place).images()
    second.write_bytes(b'\x1f\x8b\x08' + whole)
    with pytest.raises(DatasetError, match=r'copy-001\.tar is no plain tar file.*unpack \.gz'):
        open_source(place).images()
    second.unlink()
    with pytest.raises(DatasetError, match=r'there is no .*copy-001\.tar: correct the name, or copy it there'):
        open_source(place).images()


def test_a_shard_that_shrinks_under_a_training_names_the_image(images, tmp_path):
    dataset = ImageFolder(write_shards(images, tmp_path / 'copy'), pipeline=LOAD, test_mode=True)
    shard = tmp_path / 'copy-001.tar'
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(ImageReadError, match=r'copy-001\.tar:000004\.jpg: .*ends [\d,]+ bytes too early'):
        dataset[4]
