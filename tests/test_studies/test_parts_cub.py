"""CUB-200-2011: patches around keypoints as the study cuts them."""

import pytest
from fixtures.parts import make_cub

from repre_mm.studies.parts.cub import patch_boxes, read_cub
from repre_mm.utils.errors import UserError


def test_parts_of_a_bird_are_squares_around_visible_keypoints(tmp_path):
    data = read_cub(make_cub(tmp_path), 'train')
    assert data.parts == ('right eye', 'right leg', 'left wing', 'tail')
    assert data.objects == ('001.Albatross', '002.Wren') and data.decode is None
    assert [path.name for path in data.paths] == ['bird_1.jpg', 'bird_2.jpg']
    # In the file's order: wing, eye, leg. The wing and the leg are 60 apart, so their squares have 30 pixels a side;
    # the eye is 100 from the wing: 50 a side.
    assert [region.part for region in data.regions[0]] == [2, 0, 1]
    assert data.part_boxes(0, 200, 300) == [(115, 65, 145, 95), (5, 55, 55, 105), (115, 125, 145, 155)]
    assert [regions[0].object for regions in data.regions] == [1, 0]
    assert data.object_boxes_of(0, 200, 300) == {0: (10, 20, 210, 170)}
    assert len(read_cub(tmp_path, 'val').paths) == 2


def test_keypoints_that_are_too_near_or_alone_get_no_square():
    near = patch_boxes([(0.0, 0.0), (38.0, 0.0), (200.0, 0.0)])  # half of 38 is below 20
    assert near[0] is None and near[1] is None and near[2] is not None
    assert patch_boxes([(5.0, 5.0)]) == [None]
    # As Pillow crops: corners are rounded, halves to even.
    assert patch_boxes([(0.5, 0.0), (100.5, 0.0)])[0] == (-24, -25, 26, 25)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r'parts\.txt is missing: name the unpacked folder CUB_200_2011'):
        read_cub(tmp_path, 'train')
    (make_cub(tmp_path) / 'images/002.Bird/bird_1.jpg').unlink()
    with pytest.raises(UserError, match=r'1 of its 2 files are missing: .*bird_1\.jpg'):
        read_cub(tmp_path, 'train')
