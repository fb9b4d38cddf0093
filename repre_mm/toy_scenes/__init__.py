"""Toy scenes: a generated data set of objects made of parts, the default data of the package.

One seed gives class folders, COCO instances, the Cityscapes layout and part masks: :func:`make_toy_scenes`.
"""

from repre_mm.toy_scenes.generate import TASKS, make_toy_scenes
from repre_mm.toy_scenes.objects import CLASSES, PARTS
from repre_mm.toy_scenes.textures import STUFF

__all__ = ['CLASSES', 'PARTS', 'STUFF', 'TASKS', 'make_toy_scenes']
