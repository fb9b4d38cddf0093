"""Vectors of images in a file: `repre embed` and `repre search`, through the tools."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.places import write_shards
from fixtures.tools import run_tool

from repre_mm.apis.vectors import Vectors
from repre_mm.utils.errors import UserError


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp('photos'), train=3, val=1) / 'train'


def test_an_image_is_nearest_to_itself(monkeypatch, tmp_path, photos, capsys):
    encoder = 'timm:vit_tiny_patch16_224,img_size=32,depth=2'
    out = tmp_path / 'vectors.npy'
    run_tool(monkeypatch, 'embed', encoder, '--data', photos, '--out', out, '--workers', 0, '--device', 'cpu')
    values, notes = np.load(out), json.loads(out.with_suffix('.json').read_text())
    paths = [str(path) for path in sorted(photos.rglob('*.*'))]
    assert values.shape == (len(paths), 192) and sorted(notes['paths']) == paths
    capsys.readouterr()
    copy = tmp_path / 'new.png'
    copy.write_bytes(Path(paths[1]).read_bytes())
    picture = tmp_path / 'nearest.png'
    # One query of the file, and one that has to be embedded by the same encoder, random weights and all.
    run_tool(monkeypatch, 'search', out, paths[0], copy, '--top', 2, '--out', picture)
    lines = [line.split('\t') for line in capsys.readouterr().out.splitlines() if '\t' in line]
    assert [(line[0], line[2]) for line in lines[::2]] == [(paths[0], paths[0]), (str(copy), paths[1])]
    assert all(float(line[1]) > 0.9999 for line in lines[::2])
    assert picture.is_file()


def test_parquet_keeps_vectors_paths_and_encoder(tmp_path):
    pytest.importorskip('pyarrow')
    written = Vectors(torch.randn(5, 3), list('abcde'), ['timm:x'], {'size': 32, 'network': None, 'prefix': ''})
    written.save(tmp_path / 'v.parquet')
    read = Vectors.load(tmp_path / 'v.parquet')
    assert torch.equal(read.values, written.values)
    assert (read.paths, read.encoder, read.options) == (written.paths, written.encoder, written.options)
    assert [path.name for path in tmp_path.iterdir()] == ['v.parquet']
    (tmp_path / 'v.parquet').write_bytes(b'PAR1')
    with pytest.raises(UserError, match=r'v\.parquet was not written by `repre embed`'):
        Vectors.load(tmp_path / 'v.parquet')


def test_shards_are_embedded_and_searched(monkeypatch, tmp_path, photos, capsys):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    place, out, picture = write_shards(photos, tmp_path / 'copy'), tmp_path / 'vectors.npy', tmp_path / 'nearest.png'
    words = ['--data', place, '--out', out, '--workers', 0, '--device', 'cpu']
    run_tool(monkeypatch, 'embed', 'timm:vit_tiny_patch16_224,img_size=32,depth=1', *words)
    name = f'{tmp_path}/copy-001.tar:000001.jpg'
    assert Vectors.load(out).paths[1] == name
    capsys.readouterr()
    run_tool(monkeypatch, 'search', out, name, '--top', 2, '--out', picture)
    assert capsys.readouterr().out.startswith(f'{name}\t1.0000\t{name}\n')
    assert picture.is_file()


def test_duplicates_are_pairs_above_the_threshold():
    values = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 0.1]])
    found = Vectors(values, ['a', 'b', 'c', 'd'], [], {}).duplicates(0.999)
    assert [(one, other) for _, one, other in found] == [('a', 'c')]
    assert len(Vectors(values, ['a', 'b', 'c', 'd'], [], {}).duplicates(0.99)) == 3


def test_a_foreign_or_half_file_is_refused(tmp_path):
    np.save(tmp_path / 'v.npy', np.zeros((3, 2)))
    with pytest.raises(UserError, match='were not written by `repre embed`'):
        Vectors.load(tmp_path / 'v.npy')
    (tmp_path / 'v.json').write_text('{"paths": ["a"], "encoder": [], "options": {}}')
    with pytest.raises(UserError, match=r'holds \[3, 2\] values for 1 paths'):
        Vectors.load(tmp_path / 'v.npy')
    with pytest.raises(UserError, match=r'NAME\.npy'):
        Vectors(torch.zeros(1, 2), ['a'], [], {}).save(tmp_path / 'v.txt')
