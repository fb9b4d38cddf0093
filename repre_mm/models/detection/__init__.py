"""What a plain ViT needs to detect objects: attention in windows, and a pyramid from its last map."""

from repre_mm.models.detection.feature_pyramid import SimpleFeaturePyramid
from repre_mm.models.detection.windowed_vit import WindowedViT

__all__ = ['SimpleFeaturePyramid', 'WindowedViT']
