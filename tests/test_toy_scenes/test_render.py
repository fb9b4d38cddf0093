"""Painted scenes and their masks."""

import cv2
import numpy as np

from repre_mm.toy_scenes import CLASSES, STUFF
from repre_mm.toy_scenes.render import render_portrait, render_scene
from repre_mm.toy_scenes.writers import label_map, object_annotations


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
