"""Views of images, drawn as mmpretrain draws them and made in a fraction of the time."""

from repre_mm.datasets.views.multi_view import FastMultiView

__all__ = ['FastMultiView']
