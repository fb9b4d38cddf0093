"""What evaluations take from annotated images: boxes, maps, shares of cells."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixtures.parts import make_coco
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from repre_mm.studies.parts.data import PartData, Region, label_maps, label_shares
from repre_mm.utils.errors import UserError


def test_label_shares_are_proportions():
    labels = torch.tensor([[0, 0, 2, 2], [0, 1, 2, 2]])
    expected = torch.tensor([[[0.75, 0.0]], [[0.25, 0.0]], [[0.0, 1.0]]])
    assert_close(label_shares(labels, 3, (1, 2)), expected)


def test_label_shares_hold_one_mask_at_a_time():
    labels = torch.randint(20, (96, 130), generator=torch.Generator().manual_seed(0))
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            largest = max(largest, result.untyped_storage().nbytes())
            return result

    with Watch():
        found = label_shares(labels, 20, (7, 7))
    assert largest <= 4 * labels.numel()  # a mask in float32
    at_once = F.one_hot(labels, 20).permute(2, 0, 1).float()
    assert_close(found, F.adaptive_avg_pool2d(at_once, (7, 7)), rtol=0, atol=0)


def test_boxes_are_squares_about_the_masks(tmp_path):
    data = make_coco(tmp_path, 2, seed=0)
    masks = data.masks(0, 32, 32)
    for mask, (left, top, right, bottom) in zip(masks, data.part_boxes(0, 32, 32), strict=True):
        assert mask[top:bottom, left:right].all() and mask.sum() == (right - left) * (bottom - top) == 256
    (whole,) = data.object_boxes_of(0, 32, 32).values()
    rows, columns = np.nonzero(masks.any(axis=0))
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    assert whole[2] - whole[0] == whole[3] - whole[1] == side
    assert abs((whole[0] + whole[2]) / 2 - (columns.min() + columns.max() + 1) / 2) <= 0.5
    assert abs((whole[1] + whole[3]) / 2 - (rows.min() + rows.max() + 1) / 2) <= 0.5


def test_smaller_parts_lie_on_larger_ones():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 0, 0] = masks[1] = True  # the first is one pixel of the second
    part_map, object_map = label_maps(masks, np.array([4, 2]), np.array([0, 1]))
    assert part_map.tolist() == [[5, 3, 3], [3, 3, 3]]
    assert object_map.tolist() == [[1, 2, 2], [2, 2, 2]]


def test_data_of_boxes_has_no_masks():
    data = PartData('birds', ('eye',), ('wren',), None, [], [[Region(0, 0, 0, (1, 2, 3, 4))]])
    assert data.part_boxes(0, 9, 9) == [(1, 2, 3, 4)]
    with pytest.raises(UserError, match='birds has boxes of parts, no masks'):
        data.masks(0, 9, 9)


def test_note_says_what_the_objects_are(tmp_path):
    assert make_coco(tmp_path, 2, seed=0).object_note == "Objects: 2 classes, from the categories' supercategories."
    assert 'no object recognition' in PartData('x', ('a',), ('thing',), None, [], []).object_note
