"""Image folders, reading of image files, the transforms of the pipelines, and toy scenes."""

from repre_mm.datasets.fast import FastMultiView
from repre_mm.datasets.few_labels import StratifiedSubset
from repre_mm.datasets.image_folder import ImageFolder
from repre_mm.datasets.label_maps import LoadLabelMap
from repre_mm.datasets.listing import DatasetError, find_images
from repre_mm.datasets.reading import ImageReadError, LoadImage, read_image
from repre_mm.datasets.views import view_sizes

__all__ = [
    'DatasetError',
    'FastMultiView',
    'ImageFolder',
    'ImageReadError',
    'LoadImage',
    'LoadLabelMap',
    'StratifiedSubset',
    'find_images',
    'make_toy_scenes',
    'read_image',
    'view_sizes',
]


def __getattr__(name: str) -> object:
    # Imported on first use: training reads folders and has no use for the painter of toy scenes.
    if name == 'make_toy_scenes':
        from repre_mm.datasets.toy_scenes import make_toy_scenes

        return make_toy_scenes
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
