"""Projections of encoders' features to the plane, by t-SNE or UMAP (RePre, Figure 4, right)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from repre_mm.utils.errors import UserError
from repre_mm.visualization.curves import COLOURS, add_legend

# Seven colours are not enough for twenty classes, nor for every eye: each class has its own colour and marker.
_MARKERS = 'os^Dv'


def project(features: np.ndarray, method: str = 'tsne', seed: int = 0) -> np.ndarray:
    """Normalise features to unit length and project them to the plane.

    Args:
        features: (N, C), N >= 4.
        method: ``'tsne'`` (scikit-learn; perplexity 30, less for fewer than 100 images) or ``'umap'`` (15 neighbours).
        seed: Seed of the projection.

    Returns:
        (N, 2), float32.

    Raises:
        UserError: The library is not installed, or there are fewer than 4 images.
    """
    count = len(features)
    if count < 4:
        raise UserError(f'{count} images are too few for a projection: take at least 4')
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if method == 'tsne':
        try:
            from sklearn.manifold import TSNE
        except ModuleNotFoundError as error:
            raise UserError('t-SNE needs scikit-learn: `.venv/bin/pip install scikit-learn`') from error
        model = TSNE(perplexity=min(30, (count - 1) / 3), init='pca', random_state=seed)
    else:
        try:
            from umap import UMAP
        except ModuleNotFoundError as error:
            raise UserError('UMAP needs one more package: `.venv/bin/pip install umap-learn`') from error
        model = UMAP(n_neighbors=min(15, count - 1), random_state=seed, n_jobs=1)
    return model.fit_transform(features).astype(np.float32)


def embedding_figure(points: dict[str, np.ndarray], labels: np.ndarray, names: Sequence[str], method: str) -> Figure:
    """Draw a scatter plot per encoder.

    Args:
        points: Encoder -> (N, 2).
        labels: (N,) indices into ``names``.
        names: Of the classes.
        method: Its name, for the caption.
    """
    figure = Figure(figsize=(4.2 * len(points) + 2.2, 4.6), layout='constrained')
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for panel, (name, xy) in zip(panels, points.items(), strict=True):
        for index in range(len(names)):
            chosen = xy[labels == index]
            style = {'color': COLOURS[index % len(COLOURS)], 'marker': _MARKERS[index // len(COLOURS) % len(_MARKERS)]}
            panel.scatter(*chosen.T, s=16, alpha=0.8, linewidths=0, **style)
        panel.set_title(name, fontsize=11, parse_math=False)
        panel.set(xticks=[], yticks=[])
        panel.set_aspect('equal', adjustable='datalim')
    # Distances and directions mean nothing across projections: the axes have no units.
    figure.supxlabel(f'{method} of {len(labels)} images; axes without units', fontsize=9)
    columns = 1 if len(names) <= 12 else 2
    handles = panels[0].collections
    add_legend(figure, handles, names, loc='outside right upper', ncols=columns, markerscale=1.4)
    return figure
