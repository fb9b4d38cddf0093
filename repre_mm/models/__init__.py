"""RePre in five files: repre (one training step), taps (levels of one forward), necks (alignment), decoders (pixels)
and losses (weighting); around it algorithms, encoders and data preprocessors.
"""

from repre_mm.models.backbones import SimpleFeaturePyramid, TimmBackbone, WindowedViT
from repre_mm.models.decoders import RePreDecoder
from repre_mm.models.losses import FixedWeighting, UncertaintyWeighting
from repre_mm.models.necks import RePreNeck, sample_levels
from repre_mm.models.preprocessor import DeviceAugmentPreprocessor
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.selfsup import DINO, MoBY, MoCo, SimCLR
from repre_mm.models.taps import EncoderLevels, LevelTap, encoder_levels
from repre_mm.models.variants import DynamicWeightAveraging, GatedRePreNeck, MaskedRePreNeck

__all__ = [
    'DINO',
    'DeviceAugmentPreprocessor',
    'DynamicWeightAveraging',
    'EncoderLevels',
    'FixedWeighting',
    'GatedRePreNeck',
    'LevelTap',
    'MaskedRePreNeck',
    'MoBY',
    'MoCo',
    'RePreAlgorithm',
    'RePreDecoder',
    'RePreNeck',
    'SimCLR',
    'SimpleFeaturePyramid',
    'TimmBackbone',
    'UncertaintyWeighting',
    'WindowedViT',
    'encoder_levels',
    'sample_levels',
]
