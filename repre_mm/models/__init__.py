"""The model: taps (levels of one forward), necks (alignment), decoders (pixels), losses (weighting), and repre,
which tells the story of one step.
"""

from repre_mm.models.backbones import SimpleFeaturePyramid, TimmBackbone, WindowedViT
from repre_mm.models.decoders import RePreDecoder
from repre_mm.models.losses import DynamicWeightAveraging, FixedWeighting, UncertaintyWeighting
from repre_mm.models.necks import GatedRePreNeck, RePreNeck, sample_levels
from repre_mm.models.preprocessor import DeviceAugmentPreprocessor
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.selfsup import DINO, MoBY, MoCo, SimCLR
from repre_mm.models.taps import EncoderLevels, LevelTap, encoder_levels

__all__ = [
    'DINO',
    'DeviceAugmentPreprocessor',
    'DynamicWeightAveraging',
    'EncoderLevels',
    'FixedWeighting',
    'GatedRePreNeck',
    'LevelTap',
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
