"""Projections of encoders' features to the plane by t-SNE (RePre, Figure 4, right), and clusters by k-means."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from repre_mm.utils.errors import UserError
from repre_mm.visualization.curves import COLOURS

# Seven colours are not enough for twenty classes, nor for every eye: each class has its own colour and marker.
_MARKERS = 'os^Dv'


def project(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Normalise features to unit length and project them to the plane by scikit-learn's t-SNE.

    Args:
        features: (N, C), N >= 4.
        seed: Seed of the projection.

    Returns:
        (N, 2), float32. The perplexity is 30, less for fewer than 100 images.

    Raises:
        UserError: The library is not installed, or there are fewer than 4 images.
    """
    count = len(features)
    if count < 4:
        raise UserError(f'{count} images are too few for a projection: take at least 4')
    model = _sklearn('manifold').TSNE(perplexity=min(30, (count - 1) / 3), init='pca', random_state=seed)
    return model.fit_transform(_unit(features)).astype(np.float32)


def clusters(features: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Assign features (N, C), normalised to unit length, to ``count`` clusters by k-means: (N,), numbers from 0."""
    model = _sklearn('cluster').KMeans(min(count, len(features)), n_init=5, random_state=seed)
    return model.fit_predict(_unit(features))


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _sklearn(module: str) -> ModuleType:
    try:
        return import_module(f'sklearn.{module}')
    except ModuleNotFoundError as error:
        raise UserError("this picture needs scikit-learn: pip install 'repre_mm[plots]'") from error


def embedding_figure(
    points: dict[str, np.ndarray], labels: np.ndarray, names: Sequence[str], title: str | None = None
) -> Figure:
    """Draw a scatter plot per encoder.

    Args:
        points: Encoder -> (N, 2).
        labels: (N,) indices into ``names``.
        names: Of the classes.
        title: Above them.
    """
    with matplotlib.rc_context({'text.parse_math': False}):  # a name may hold a $
        figure = Figure(figsize=(4.2 * len(points) + 2.2, 4.6), layout='constrained')
        panels = figure.subplots(1, len(points), squeeze=False)[0]
        for panel, (name, xy) in zip(panels, points.items(), strict=True):
            for i in range(len(names)):
                style = {'color': COLOURS[i % len(COLOURS)], 'marker': _MARKERS[i // len(COLOURS) % len(_MARKERS)]}
                panel.scatter(*xy[labels == i].T, s=16, alpha=0.8, linewidths=0, **style)
            panel.set_title(name, fontsize=11)
            panel.set(xticks=[], yticks=[])
            panel.set_aspect('equal', adjustable='datalim')
        # Distances and directions mean nothing across projections: the axes have no units.
        figure.supxlabel(f't-SNE of {len(labels)} images; axes without units', fontsize=9)
        place = {'loc': 'outside right upper', 'ncols': 1 if len(names) <= 12 else 2}
        figure.legend(panels[0].collections, names, title=title, markerscale=1.4, frameon=False, fontsize=9, **place)
    return figure
