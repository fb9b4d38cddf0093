"""Views of images with the distributions of mmpretrain's, in a fraction of the time."""

from repre_mm.datasets.views.multi_view import FastMultiView

__all__ = ['FastMultiView']
