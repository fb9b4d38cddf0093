"""Pascal-Part: masks of objects' parts from MATLAB files."""

import numpy as np
import pytest
from fixtures.parts import draw_parts, make_pascal_part
from scipy.io import savemat

from repre_mm.studies.parts.pascal_part import read_pascal_part
from repre_mm.utils.errors import UserError


def test_parts_are_read_with_their_objects(tmp_path):
    train, val = read_pascal_part(make_pascal_part(tmp_path))
    assert train.parts == ('car green', 'car red', 'house blue', 'house green')
    assert train.objects == ('car', 'house')  # the table has no parts
    assert [path.name for path in val.paths] == ['2008_val0.jpg', '2008_val1.jpg']
    _, drawn = draw_parts(0, np.random.default_rng(0))
    assert [train.parts[region.part] for region in train.regions[0]] == [name.replace(':', ' ') for name, _ in drawn]
    assert (train.masks(0, 32, 32) == np.stack([mask for _, mask in drawn])).all()
    assert {region.instance for region in train.regions[0]} == {0}


def test_unusable_folders_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r'is not VOC 2010 with Pascal-Part: it needs .*train\.txt'):
        read_pascal_part(tmp_path)
    make_pascal_part(tmp_path)
    savemat(tmp_path / 'Annotations_Part/2008_val0.mat', {'other': 1})
    with pytest.raises(UserError, match=r'2008_val0\.mat is not an annotation of Pascal-Part'):
        read_pascal_part(tmp_path)


def test_mask_of_another_size_is_named(tmp_path):
    train, _ = read_pascal_part(make_pascal_part(tmp_path))
    with pytest.raises(UserError, match=r'part 1 of object 1 in .*\.mat has 32 x 32 pixels, its image 40 x 32'):
        train.masks(0, 32, 40)
