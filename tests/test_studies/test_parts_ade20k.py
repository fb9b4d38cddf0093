"""ADE20K with parts: one JSON file per image, one mask file per part."""

import numpy as np
import pytest
from fixtures.parts import draw_parts, make_ade20k

from repre_mm.studies.parts.ade20k import read_ade20k
from repre_mm.utils.errors import UserError


def test_parts_of_objects_are_read_and_parts_of_parts_are_not(tmp_path):
    train, val = read_ade20k(make_ade20k(tmp_path))
    assert train.parts == ('car green', 'car red', 'house blue', 'house green') and train.objects == ('car', 'house')
    assert len(train.paths) == 4 and len(val.paths) == 2
    _, drawn = draw_parts(0, np.random.default_rng(0))
    assert [train.parts[region.part] for region in train.regions[0]] == [name.replace(':', ' ') for name, _ in drawn]
    assert (train.masks(0, 32, 32) == np.stack([mask for _, mask in drawn])).all()
    assert {region.instance for region in train.regions[0]} == {7}


def test_unusable_folders_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r'there is no NAME\.json under .*training'):
        read_ade20k(tmp_path)
    make_ade20k(tmp_path)
    train, _ = read_ade20k(tmp_path)
    train.regions[0][0].shape.unlink()
    with pytest.raises(UserError, match=r'the mask .*instance_008_.*\.png cannot be read'):
        train.masks(0, 32, 32)
    next((tmp_path / 'images/ADE/training').rglob('*.json')).write_text('{}')
    with pytest.raises(UserError, match='is not an annotation of ADE20K'):
        read_ade20k(tmp_path)
