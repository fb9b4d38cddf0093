"""Augmentation on the device: random draws on the host, kernels for whole batches, and the data preprocessor."""

from repre_mm.models.preprocessor.draws import Change, ViewRecipe
from repre_mm.models.preprocessor.preprocessor import DeviceAugmentPreprocessor, augment

__all__ = ['Change', 'DeviceAugmentPreprocessor', 'ViewRecipe', 'augment']
