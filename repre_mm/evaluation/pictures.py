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
from repre_mm.evaluation.features import extract_features
from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.evaluation.loaders import EvaluationError, ImageSource
from repre_mm.models.taps import encoder_levels
from repre_mm.visualization.embedding import embedding_figure, project
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
    show: str = 'mean',
    layer: int = -1,
) -> np.ndarray:
    """Draw where encoders look (RePre, Figure 4, left).

    Args:
        encoders: See the top of this file.
        source: Likewise.
        indices: Likewise.
        kind: ``'class'`` (attention of the class token, in multiples of an even spread over all tokens),
            ``'similarity'`` (cosine of each cell with the pooled vector), or ``'auto'``: the first if every encoder's
            vector is its class token, else the second.
        show: ``'mean'`` over the heads, one column per image and one row per encoder; ``'heads'``, one column per head;
            ``'layers'``, one column per layer. The latter two have one row per image and encoder.
        layer: For ``'mean'`` and ``'heads'``.

    Raises:
        repre_mm.evaluation.attention.MapError: An encoder lacks such a map or layer.
    """
    if kind == 'auto':
        kind = 'class' if all(class_token_leads(encoder.module) for encoder in encoders.values()) else 'similarity'
    if kind == 'similarity' and show == 'heads':
        raise EvaluationError("the similarity map has no heads: show 'mean' or 'layers', or use map 'class'")
    shown = _tiles(source, indices)
    maps: dict[str, dict[str, np.ndarray]] = {}  # encoder -> caption -> (B, h, w)
    for name, encoder in encoders.items():
        inputs = encoder.normalised(source.load(indices, encoder.image_size))
        layers = range(len(encoder_levels(encoder.module))) if show == 'layers' else [layer]
        maps[name] = {}
        for index in layers:
            caption = f'layer {index + 1}' if show == 'layers' else 'mean'
            if kind == 'similarity':
                maps[name][caption] = similarity_map(encoder.module, inputs, index).cpu().numpy()
                continue
            attention = class_attention(encoder.module, inputs, index).cpu().numpy()  # (B, heads, h, w)
            attention *= attention.shape[-1] * attention.shape[-2] + 1
            maps[name][caption] = attention.mean(1)
            if show == 'heads':
                maps[name] |= {f'head {i + 1}': attention[:, i] for i in range(attention.shape[1])}
    # One scale for the whole picture. Few cells take most of the attention: they must not leave the others black.
    values = np.concatenate([array.ravel() for group in maps.values() for array in group.values()])
    quantiles = np.percentile(values, [0.5, 97, 99.5]).tolist()
    low, high = (0.0, quantiles[1]) if kind == 'class' else (quantiles[0], quantiles[2])
    drawn = {
        name: [[heat_map(array[i], low, high, _TILE) for array in group.values()] for i in range(len(shown))]
        for name, group in maps.items()
    }
    if show == 'mean':
        rows = [shown, *([tiles[0] for tiles in drawn[name]] for name in encoders)]
        picture = sheet(rows, None, ['image', *encoders])
    else:
        picture = _by_image_and_encoder(shown, drawn, {name: list(group) for name, group in maps.items()})
    where = 'every layer' if show == 'layers' else ('last layer' if layer == -1 else f'layer {layer}')
    meaning = {
        'class': f'attention of the class token, {where}; 1 = spread evenly',
        'similarity': f"cosine of each cell's vector with the mean of all cells, {where}",
    }[kind]
    return with_scale(picture, low, high, meaning)


def components_picture(
    encoders: dict[str, FrozenEncoder], source: ImageSource, indices: Sequence[int], *, layer: int = -1
) -> np.ndarray:
    """Draw patch tokens by their first three principal components as colours; one row per encoder.

    Colours agree between the images of a row, not between rows.

    Raises:
        repre_mm.evaluation.attention.MapError: An encoder lacks that layer.
    """
    shown = _tiles(source, indices)
    rows = [shown]
    for encoder in encoders.values():
        inputs = encoder.normalised(source.load(indices, encoder.image_size))
        colours = component_colours(level_map(encoder.module, inputs, layer))
        rows.append([enlarged(one, _TILE) for one in colours])
    return sheet(rows, None, ['image', *encoders])


def embedding_picture(
    encoders: dict[str, FrozenEncoder], source: ImageSource, indices: Sequence[int], *, seed: int = 0
) -> Figure:
    """Draw vectors of labelled images in the plane, one panel per encoder (RePre, Figure 4, right).

    Args:
        encoders: See the top of this file.
        source: One with classes.
        indices: As :meth:`ImageSource.sample_classes` draws them.
        seed: Of the projection.
    """
    points = {name: project(_vectors(encoder, source, indices).numpy(), seed) for name, encoder in encoders.items()}
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
        encoders: See the top of this file.
        source: Likewise.
        indices: The images to search; the first ``queries`` of them are the queries.
        queries: How many.
        top: Neighbours of each, without the query itself.

    Raises:
        EvaluationError: There are no more images than ``top``.
    """
    if len(indices) <= top:
        raise EvaluationError(f'{len(indices)} images are too few to show the {top} nearest of each')
    drawn: dict[str, list[list[np.ndarray]]] = {}
    shown = _tiles(source, indices[:queries])
    for name, encoder in encoders.items():
        vectors = torch.nn.functional.normalize(_vectors(encoder, source, indices), dim=1)
        similarity = vectors[: len(shown)] @ vectors.T  # (Q, N)
        similarity.fill_diagonal_(-torch.inf)  # the query itself
        nearest = similarity.topk(top).indices.tolist()
        unique = sorted({i for row in nearest for i in row})
        tiles = dict(zip(unique, _tiles(source, [indices[i] for i in unique]), strict=True))
        drawn[name] = [
            [framed(tiles[i], _frame(source, indices[query], indices[i])) for i in row]
            for query, row in enumerate(nearest)
        ]
    captions = {name: [f'{rank + 1}' for rank in range(top)] for name in encoders}
    picture = _by_image_and_encoder(shown, drawn, captions)
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


def _by_image_and_encoder(
    shown: list[np.ndarray], drawn: dict[str, list[list[np.ndarray]]], captions: dict[str, list[str]]
) -> np.ndarray:
    """Arrange a row per image and encoder; shorter rows are padded with white."""
    longest = max(captions.values(), key=len)
    blank = np.full_like(shown[0], 255)
    rows = [
        [tile if name == next(iter(drawn)) else blank, *tiles[i], *[blank] * (len(longest) - len(tiles[i]))]
        for i, tile in enumerate(shown)
        for name, tiles in drawn.items()
    ]
    names = [name for _ in shown for name in drawn] if len(drawn) > 1 else None
    return sheet(rows, ['image', *longest], names)


def _frame(source: ImageSource, one: int, other: int) -> tuple[int, int, int] | None:
    if source.labels is None:
        return None
    return _SAME if source.labels[one] == source.labels[other] else _OTHER
