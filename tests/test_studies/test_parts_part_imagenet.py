"""PartImageNet: COCO files of both splits, objects by supercategory."""

from fixtures.parts import make_part_imagenet

from repre_mm.studies.parts.part_imagenet import read_part_imagenet


def test_both_splits_have_all_classes_though_one_lacks_masks(tmp_path):
    train, val = read_part_imagenet(make_part_imagenet(tmp_path))
    assert train.parts == val.parts == ('Car red', 'Car green', 'House blue', 'House green')
    assert train.objects == val.objects == ('Car', 'House')
    assert len(train.paths) == 4 and len(val.paths) == 1
    assert {region.object for regions in val.regions for region in regions} == {1}
