"""Files of a set: reproducible, balanced, and never written over something else."""

import json
import os
import time
from collections import Counter

import cv2
import pytest
from fixtures.toys import SMALL, digests

from repre_mm.toy_scenes import CLASSES, make_toy_scenes
from repre_mm.toy_scenes.preview import contact_sheet


def test_files_do_not_depend_on_the_number_of_workers(root, tmp_path):
    make_toy_scenes(tmp_path / 'one', workers=1, **SMALL)
    assert digests(tmp_path / 'one') == digests(root)


def test_another_seed_gives_other_images(root, tmp_path):
    make_toy_scenes(tmp_path, seed=1, tasks=['cls'], **SMALL)
    assert not set(digests(tmp_path / 'cls').values()) & set(digests(root / 'cls').values())


def test_classes_are_balanced_and_splits_differ(root):
    for split, count in (('train', 20), ('val', 10)):
        files = list((root / 'cls' / split).glob('*/*.jpg'))
        assert Counter(p.parent.name for p in files) == dict.fromkeys(CLASSES, count // 10)
        assert {cv2.imread(str(p)).shape for p in files} == {(48, 48, 3)}
    assert len(set(digests(root / 'cls').values())) == 30


def test_second_call_writes_nothing(root):
    before = {p: p.stat().st_mtime_ns for p in root.rglob('*')}
    start = time.perf_counter()
    manifest = make_toy_scenes(root, **SMALL)
    assert time.perf_counter() - start < 0.5
    assert {p: p.stat().st_mtime_ns for p in root.rglob('*')} == before
    assert manifest == json.loads((root / 'toy_scenes.json').read_text())


def test_unfinished_set_is_made_again(root, tmp_path):
    make_toy_scenes(tmp_path, **SMALL)
    os.replace(tmp_path / 'toy_scenes.json', tmp_path / 'toy_scenes.json.unfinished')
    (tmp_path / 'cls/val/car/car_000002.jpg').unlink()
    (tmp_path / 'cls/val/car/stale.jpg').write_bytes(b'')
    make_toy_scenes(tmp_path, **SMALL)
    assert digests(tmp_path) == digests(root)


def test_foreign_folders_and_other_sets_are_refused(root, tmp_path):
    (tmp_path / 'thesis.tex').write_text('mine')
    with pytest.raises(FileExistsError, match=r'thesis\.tex'):
        make_toy_scenes(tmp_path, **SMALL)
    with pytest.raises(FileExistsError, match='is a file'):
        make_toy_scenes(tmp_path / 'thesis.tex', **SMALL)
    assert digests(tmp_path).keys() == {'thesis.tex'}
    with pytest.raises(ValueError, match=r'seed=0 \(asked: 5\)'):
        make_toy_scenes(root, seed=5, **SMALL)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'tasks': ['cls', 'depth']}, 'depth'),
        ({'tasks': ['parts']}, "add 'cls'"),
        ({'num_val': 9}, 'num_val must be at least 10, got 9'),
        ({'image_size': 16}, 'image_size must be at least 32, got 16'),
        ({'scene_size': (64, 32)}, 'scene_size'),
        ({'workers': 0}, 'workers'),
    ],
)
def test_bad_arguments_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_toy_scenes(tmp_path, **SMALL | changes)
    assert not list(tmp_path.iterdir())


def test_tasks_choose_the_folders(tmp_path):
    make_toy_scenes(tmp_path, tasks=['cityscapes'], **SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['cityscapes', 'toy_scenes.json']
    assert contact_sheet(tmp_path).shape == (64 + 8, 3 * 192, 3)
