"""Encoders beyond mmpretrain's: any timm model, and a plain ViT with a feature pyramid for detection."""

from repre_mm.models.backbones.feature_pyramid import SimpleFeaturePyramid
from repre_mm.models.backbones.timm import TimmBackbone
from repre_mm.models.backbones.windowed_vit import WindowedViT

__all__ = ['SimpleFeaturePyramid', 'TimmBackbone', 'WindowedViT']
