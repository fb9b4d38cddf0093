"""Faults of annotations, found in toy scenes."""

from repre_mm.datasets.formats.faults import layout_faults
from repre_mm.toy_scenes import make_toy_scenes


def test_faults_are_named(tmp_path):
    sizes = dict(num_train=10, num_val=10, num_scenes_train=3, num_scenes_val=2, image_size=32, scene_size=(64, 64))
    make_toy_scenes(tmp_path / 'toy', tasks=('coco', 'cityscapes'), workers=1, progress=False, **sizes)
    coco, cityscapes = tmp_path / 'toy/coco', tmp_path / 'toy/cityscapes'
    assert layout_faults(coco) == layout_faults(cityscapes) == layout_faults(coco / 'train2017') == []

    images = sorted((coco / 'train2017').iterdir())
    images[-1].unlink()
    label = next((cityscapes / 'gtFine/val').rglob('*.png'))
    label.write_bytes(label.read_bytes()[:60])
    (fault,) = layout_faults(coco)
    assert f'names 1 of 3 images that are not in {coco}/train2017, the first is {images[-1].name}' in fault
    (fault,) = layout_faults(cityscapes)
    assert f'the mask {label} cannot be read' in fault
