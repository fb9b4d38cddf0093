"""Datasets of images, and the steps of their pipelines."""

from repre_mm.datasets.formats.few_labels import StratifiedSubset
from repre_mm.datasets.formats.masks import MaskFolder
from repre_mm.datasets.image_folder import ImageFolder
from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.loading import LoadImage, LoadLabelMap
from repre_mm.datasets.reading import ImageReadError, read_image
from repre_mm.datasets.sources import NamedImage, Source, open_images, open_source
from repre_mm.datasets.sources.folder import find_images
from repre_mm.datasets.views.multi_view import FastMultiView, view_sizes

__all__ = [
    'DatasetError',
    'FastMultiView',
    'ImageFolder',
    'ImageReadError',
    'LoadImage',
    'LoadLabelMap',
    'MaskFolder',
    'NamedImage',
    'Source',
    'StratifiedSubset',
    'find_images',
    'open_images',
    'open_source',
    'read_image',
    'view_sizes',
]
