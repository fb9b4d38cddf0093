import hashlib
import json
import os
import time
from collections import Counter

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from repre_mm.datasets.formats.cityscapes import find_classes
from repre_mm.toy_scenes import CLASSES, PARTS, STUFF, make_toy_scenes
from repre_mm.toy_scenes.objects import build_object
from repre_mm.toy_scenes.preview import contact_sheet
from repre_mm.toy_scenes.render import render_portrait, render_scene
from repre_mm.toy_scenes.shapes import box, ellipse, stroke
from repre_mm.toy_scenes.writers import decode_rle, encode_rle, label_map, object_annotations

SMALL = {
    'num_train': 20,
    'num_val': 10,
    'num_scenes_train': 6,
    'num_scenes_val': 3,
    'image_size': 48,
    'scene_size': (64, 96),
    'progress': False,
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('toy') / 'set'
    make_toy_scenes(path, workers=2, **SMALL)
    return path


def digests(folder):
    files = sorted(p for p in folder.rglob('*') if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def area(outline):
    x, y = outline.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_shapes_have_the_areas_of_their_formulas():
    np.testing.assert_allclose(area(ellipse(1, 2, 3, 2)), np.pi * 6, rtol=0.01)
    np.testing.assert_allclose(area(box(0, 0, 4, 2)), 8)
    np.testing.assert_allclose(area(box(0, 0, 4, 2, 0.5)), 8 - (4 - np.pi) * 0.25, rtol=0.01)
    np.testing.assert_allclose(area(stroke(np.array([[0.0, 0], [1, 1], [2, 2]]), 0.5)), 0.5 * np.sqrt(8))


@pytest.mark.parametrize('name', CLASSES)
def test_objects_have_unit_size_and_the_declared_parts(name):
    seen = set()
    for seed in range(20):
        parts = build_object(name, np.random.default_rng(seed))
        seen |= {part.name for part in parts}
        points = np.concatenate([part.outline for part in parts])
        low, high = points.min(axis=0), points.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        np.testing.assert_allclose(np.prod(high - low), 1)
    assert seen == set(PARTS[name])


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


def test_rle_round_trip():
    masks = np.random.default_rng(0).random((8, 7, 5)) < 0.5
    masks[0], masks[1] = False, True
    for mask in masks:
        np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


def test_coco_masks_boxes_and_areas_agree(root):
    for split, count in (('train', 6), ('val', 3)):
        coco = COCO(root / 'coco/annotations' / f'instances_{split}2017.json')
        assert len(coco.imgs) == count and coco.anns
        assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
        for image in coco.imgs.values():
            picture = cv2.imread(str(root / 'coco' / f'{split}2017' / image['file_name']))
            assert picture.shape[:2] == (image['height'], image['width']) == (64, 96)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation).astype(bool)
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box_ = [cols[0], rows[0], np.ptp(cols) + 1, np.ptp(rows) + 1]
            assert annotation['bbox'] == box_
            assert annotation['area'] == mask.sum()
            assert annotation['iscrowd'] == 0


def test_label_maps_match_the_instances(root):
    coco = COCO(root / 'coco/annotations/instances_train2017.json')
    paths = sorted((root / 'cityscapes/gtFine/train').glob('*/*_gtFine_labelTrainIds.png'))
    assert len(paths) == len(coco.imgs)
    for image, path in zip(coco.imgs.values(), paths, strict=True):
        stem = path.name.removesuffix('_gtFine_labelTrainIds.png')
        sharp = root / 'cityscapes/leftImg8bit/train' / path.parent.name / f'{stem}_leftImg8bit.png'
        difference = cv2.imread(str(sharp)).astype(int) - cv2.imread(str(root / 'coco/train2017' / image['file_name']))
        assert np.abs(difference).mean() < 12  # the same scene, but for the JPEG loss
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8 and labels.max() < len(STUFF) + len(CLASSES)
        expected = np.zeros(labels.shape, int)
        for annotation in coco.imgToAnns[image['id']]:
            mask = coco.annToMask(annotation).astype(bool)
            assert not expected[mask].any()  # visible pixels belong to one object
            expected[mask] = len(STUFF) + annotation['category_id'] - 1
        np.testing.assert_array_equal(np.where(labels >= len(STUFF), labels, 0), expected)
    assert find_classes(root / 'cityscapes') == ([*STUFF, *CLASSES], [])


def test_objects_are_visible_where_their_masks_say():
    names = ['cup', 'car', 'fish', 'house']
    scene = render_scene(names, np.random.default_rng(3), 128, 192)
    masks = [scene.object_mask(k) for k in range(len(scene.objects))]
    annotations = object_annotations(scene)
    assert [a['area'] for a in annotations] == [mask.sum() for mask in masks]
    np.testing.assert_array_equal(np.any(masks, axis=0), scene.owner > 0)
    np.testing.assert_array_equal(np.any(masks, axis=0), label_map(scene) >= len(STUFF))
    for mask in masks:
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))).astype(bool) & (scene.owner == 0)
        contrast = scene.image[mask].mean(0) - scene.image[ring].mean(0)
        assert np.abs(contrast).max() > 10


def test_part_masks_partition_their_object():
    for k, name in enumerate(CLASSES):
        scene = render_portrait(name, np.random.default_rng(k), 64)
        parts = np.stack([scene.part_mask(i) for i in range(len(scene.parts))])
        np.testing.assert_array_equal(parts.sum(0), scene.object_mask(0))
        assert 0.03 < scene.object_mask(0).mean() < 0.9


def test_part_annotations_load_and_name_their_object(root):
    coco = COCO(root / 'parts/annotations/parts_val.json')
    assert len(coco.imgs) == 10
    for annotation in coco.anns.values():
        category = coco.cats[annotation['category_id']]
        file_name = coco.imgs[annotation['image_id']]['file_name']
        assert (root / 'cls/val' / file_name).is_file()
        name, part = category['name'].split(':')
        assert file_name.split('/')[0] == category['supercategory'] == name
        assert part in PARTS[name]
        assert coco.annToMask(annotation).sum() == annotation['area'] > 0


def test_class_is_not_readable_from_mean_color():
    def features(seed):
        images = [render_portrait(CLASSES[i % 10], np.random.default_rng([seed, i]), 32).image for i in range(300)]
        return np.array([np.concatenate([x.mean((0, 1)), x.std((0, 1))]) for x in images])

    train, test = features(0), features(1)
    labels = np.arange(300) % 10
    scale = train.std(0)
    centres = np.stack([train[labels == k].mean(0) for k in range(10)]) / scale
    guess = np.linalg.norm((test / scale)[:, None] - centres, axis=2).argmin(1)
    assert (guess == labels).mean() < 0.2  # chance is 0.1


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


def test_contact_sheet_shows_every_class(root):
    sheet = contact_sheet(root)
    assert sheet.shape == (10 * 48 + 8 + 2 * (64 + 8), 6 * 96, 3)
    first = cv2.imread(str(root / 'cls/val/bird/bird_000000.jpg'))[..., ::-1]
    np.testing.assert_array_equal(sheet[:48, :48], first)
