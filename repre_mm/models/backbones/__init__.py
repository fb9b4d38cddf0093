"""Encoders from elsewhere behind one face: a vector for the contrastive neck, and levels for RePre."""

from repre_mm.models.backbones.timm import TimmBackbone

__all__ = ['TimmBackbone']
