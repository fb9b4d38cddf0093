"""Annotations and label maps of a set on disk."""

import cv2
import numpy as np
from pycocotools.coco import COCO

from repre_mm.datasets.formats.masks import find_classes
from repre_mm.toy_scenes import CLASSES, PARTS, STUFF


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
    assert find_classes(root / 'cityscapes') == [*STUFF, *CLASSES]


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
