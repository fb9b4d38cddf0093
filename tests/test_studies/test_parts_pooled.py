"""The quick protocol: pooled regions, and a linear head on cells."""

import json

import pytest
import torch
from fixtures.encoders import WIDTH, mm_vit
from fixtures.models import MEAN, STD
from fixtures.parts import SIDE, make_coco

from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.studies.parts.coco import read_coco
from repre_mm.studies.parts.data import PartImages
from repre_mm.studies.parts.pooled import Regions, _overlap, quick_study
from repre_mm.studies.parts.segmentation import LinearHead


def test_mean_overlap_leaves_out_classes_that_never_appear():
    # Labels down, guesses across: 'door' is neither, 'mirror' is only guessed, so it counts with an overlap of 0.
    counts = torch.tensor([[6, 1, 0, 1], [2, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    head = LinearHead(torch.zeros(1, 4), torch.zeros(4), True)
    result = _overlap(counts, ('wheel', 'door', 'mirror'), head)
    assert list(result['iou']) == ['background', 'wheel', 'door', 'mirror']
    assert result['iou']['door'] is None
    # 6 / (8 labels + 8 guesses - 6), 3 / (5 + 4 - 3), 0 / (0 + 1 - 0)
    assert [result['iou'][name] for name in ('background', 'wheel', 'mirror')] == pytest.approx([60, 50, 0])
    assert result['miou'] == pytest.approx((60 + 50 + 0) / 3)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_what_is_kept_of_the_images_is_neither_shared_nor_in_pieces(tmp_path):
    annotations = make_coco(tmp_path, 4, seed=0)
    item = PartImages(annotations, SIDE, (4, 4))[0]
    labels = item['part_labels'].share_memory_()  # as it comes from a loading process: an open file each
    regions = Regions(annotations, 'part', 3)
    assert regions.features.shape == (8, 3)  # for all images, from the start
    regions.add(torch.tensor([[1.0, 2, 3], [4, 5, 6]]), labels)
    regions.add(torch.tensor([[7.0, 8, 9], [0, 1, 2]]), labels)
    assert regions.features[:4].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2]]
    assert regions.labels[:4].tolist() == 2 * item['part_labels'].tolist()
    assert not regions.labels.is_shared()
    assert len(Regions(annotations, 'object', 3).labels) == 4  # one object in each image


def study(train, val):
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, SIDE)
    return quick_study(encoder, train, val, k=5, workers=0, batch_size=8, progress=False)


def test_parts_and_objects_of_different_colours_are_recognised(tmp_path):
    val = make_coco(tmp_path / 'val', 16, seed=1)
    result = study(make_coco(tmp_path / 'train', 48, seed=0), val)
    part, whole = result['part'], result['object']
    assert result['grid'] == [4, 4] and result['width'] == WIDTH
    assert (part['train_regions'], part['val_regions'], part['classes']) == (96, 32, 4)
    assert (whole['train_regions'], whole['val_regions'], whole['classes']) == (48, 16, 2)
    assert part['linear']['top1'] > 80 and part['knn']['top1'] > 60
    assert whole['linear']['top1'] > 80 and whole['knn']['top1'] > 60
    assert part['miou'] > 60 and list(part['iou']) == ['background', *val.parts]
    assert whole['miou'] > 60 and list(whole['iou']) == ['background', 'car', 'house']
    # The same images with parts named at random: what was measured above is the encoder's, not the procedure's.
    wrong = study(make_coco(tmp_path / 'shuffled', 48, seed=0, shuffled=True), val)['part']
    assert wrong['linear']['top1'] < 60 and wrong['miou'] < 50


def test_one_object_class_has_a_segmentation_but_no_recognition(tmp_path):
    make_coco(tmp_path / 'train', 24, seed=0)
    content = json.loads((tmp_path / 'train/parts.json').read_text())
    for category in content['categories']:
        category['supercategory'] = 'thing'
    (tmp_path / 'train/parts.json').write_text(json.dumps(content))
    one = read_coco(tmp_path / 'train/parts.json', tmp_path / 'train/images')
    whole = study(one, one)['object']
    assert whole['linear'] is None and whole['knn'] is None
    assert list(whole['iou']) == ['background', 'thing'] and whole['miou'] > 60
