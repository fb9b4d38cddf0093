"""Draw what frozen encoders do with images, several encoders side by side.

All functions take ``encoders`` under their names in the picture, the ``source`` of the images, and the ``indices`` of
those to show. Pictures are (H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from repre_mm.evaluation.attention import class_attention, class_token_leads, level_map, similarity_map
from repre_mm.evaluation.features import FrozenEncoder, extract_features
from repre_mm.evaluation.loaders import EvaluationError, ImageSource
from repre_mm.visualization.embedding import clusters, embedding_figure, project
from repre_mm.visualization.maps import component_colours, enlarged, framed, heat_map, with_key, with_scale
from repre_mm.visualization.overlays import sheet

_TILE = 192  # pixels of one image in a picture
_BATCH = 64
_SAME, _OTHER = (0, 114, 178), (230, 159, 0)  # blue and orange: no colour vision confuses them


def attention_picture(
    encoders: dict[str, FrozenEncoder],
    source: ImageSource,
    indices: Sequence[int],
    *,
    kind: str = 'auto',
    layer: int = -1,
) -> np.ndarray:
    """Draw where encoders look (RePre, Figure 4, left); one column per image and one row per encoder.

    Args:
        kind: ``'class'`` (attention of the class token, mean over the heads, in multiples of an even spread over all
            tokens), ``'similarity'`` (cosine of each cell with the pooled vector), or ``'auto'``: the first if every
            encoder's vector is its class token, else the second.
        layer: Block or stage.

    Raises:
        UserError: An encoder lacks such a map or layer.
    """
    if kind == 'auto':
        kind = 'class' if all(class_token_leads(encoder.module) for encoder in encoders.values()) else 'similarity'
    rows = []
    for encoder in encoders.values():
        inputs = encoder.normalised(source.load(indices, encoder.image_size))
        if kind == 'class':
            maps = class_attention(encoder.module, inputs, layer).mean(1)  # (B, heads, h, w) -> (B, h, w)
            maps = maps * (maps[0].numel() + 1)
        else:
            maps = similarity_map(encoder.module, inputs, layer)
        rows.append(maps.cpu().numpy())
    # One scale for the whole picture. Few cells take most of the attention: they must not leave the others black.
    quantiles = np.percentile(np.concatenate([maps.ravel() for maps in rows]), [0.5, 97, 99.5]).tolist()
    low, high = (0.0, quantiles[1]) if kind == 'class' else (quantiles[0], quantiles[2])
    drawn = [[heat_map(one, low, high, _TILE) for one in maps] for maps in rows]
    where = 'last layer' if layer == -1 else f'layer {layer}'
    meaning = {
        'class': f'attention of the class token, {where}; 1 = spread evenly',
        'similarity': f"cosine of each cell's vector with the mean of all cells, {where}",
    }[kind]
    return with_scale(sheet([_tiles(source, indices), *drawn], None, ['image', *encoders]), low, high, meaning)


def components_picture(
    encoders: dict[str, FrozenEncoder], source: ImageSource, indices: Sequence[int], *, layer: int = -1
) -> np.ndarray:
    """Draw patch tokens by their first three principal components as colours; one row per encoder.

    Colours agree between the images of a row, not between rows.

    Raises:
        UserError: An encoder lacks that layer.
    """
    shown = _tiles(source, indices)
    rows = [shown]
    for encoder in encoders.values():
        inputs = encoder.normalised(source.load(indices, encoder.image_size))
        colours = component_colours(level_map(encoder.module, inputs, layer))
        rows.append([enlarged(one, _TILE) for one in colours])
    return sheet(rows, None, ['image', *encoders])


def embedding_picture(
    encoders: dict[str, FrozenEncoder],
    source: ImageSource,
    indices: Sequence[int],
    *,
    seed: int = 0,
    num_clusters: int = 10,
) -> Figure:
    """Draw vectors in the plane, one panel per encoder (RePre, Figure 4, right), coloured by class.

    Without classes the colours are clusters of the first encoder's vectors.

    Args:
        seed: Of projection and clusters.
        num_clusters: For images without classes.
    """
    vectors = {name: _vectors(encoder, source, indices).numpy() for name, encoder in encoders.items()}
    points = {name: project(values, seed) for name, values in vectors.items()}
    if source.labels is None:
        first = next(iter(encoders))
        labels = clusters(vectors[first], num_clusters, seed)
        names = [f'cluster {number} ({size} images)' for number, size in enumerate(np.bincount(labels), start=1)]
        return embedding_figure(points, labels, names, f'k-means of {first}')
    labels = source.labels[list(indices)]
    present = np.unique(labels)
    names = [source.classes[label] for label in present]
    return embedding_figure(points, np.searchsorted(present, labels), names)


def retrieval_picture(
    encoders: dict[str, FrozenEncoder], source: ImageSource, indices: Sequence[int], *, queries: int = 6, top: int = 6
) -> np.ndarray:
    """Draw the images nearest to some queries, by the cosine of their vectors; one row per query and encoder.

    If there are labels, a frame tells neighbours of the query's class (blue) from others (orange).

    Args:
        indices: The images to search; the first ``queries`` of them are the queries.
        queries: How many.
        top: Neighbours of each, without the query itself.

    Raises:
        EvaluationError: There are no more images than ``top``.
    """
    if len(indices) <= top:
        raise EvaluationError(f'{len(indices)} images are too few to show the {top} nearest of each')
    shown = _tiles(source, indices[:queries])
    blank = np.full_like(shown[0], 255)
    rows = [[] for _ in range(len(shown) * len(encoders))]
    for number, encoder in enumerate(encoders.values()):
        vectors = torch.nn.functional.normalize(_vectors(encoder, source, indices), dim=1)
        similarity = vectors[: len(shown)] @ vectors.T  # (Q, N)
        similarity.fill_diagonal_(-torch.inf)  # the query itself
        for query, nearest in enumerate(similarity.topk(top).indices.tolist()):
            tiles = _tiles(source, [indices[i] for i in nearest])
            frames = [_frame(source, indices[query], indices[i]) for i in nearest]
            rows[query * len(encoders) + number] = [blank if number else shown[query], *map(framed, tiles, frames)]
    names = list(encoders) * len(shown) if len(encoders) > 1 else None
    picture = sheet(rows, ['image', *(str(rank + 1) for rank in range(top))], names)
    if source.labels is None:
        return picture
    return with_key(picture, [(_SAME, "of the query's class"), (_OTHER, 'of another class')])


def _vectors(encoder: FrozenEncoder, source: ImageSource, indices: Sequence[int]) -> Tensor:
    """(N, C) on the CPU."""
    images = source.load(indices, encoder.image_size)
    return extract_features(encoder, [(batch, torch.zeros(len(batch))) for batch in images.split(_BATCH)])[0]


def _tiles(source: ImageSource, indices: Sequence[int]) -> list[np.ndarray]:
    """Load crops to look at, at one resolution for all encoders."""
    return list(source.load(indices, _TILE).permute(0, 2, 3, 1).numpy())


def _frame(source: ImageSource, one: int, other: int) -> tuple[int, int, int] | None:
    if source.labels is None:
        return None
    return _SAME if source.labels[one] == source.labels[other] else _OTHER
