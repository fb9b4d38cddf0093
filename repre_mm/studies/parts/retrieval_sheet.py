"""Picture of a patch retrieval: the query in its image, and the hits of each encoder and representation."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from repre_mm.studies.parts.retrieval import Hit, QueryBox
from repre_mm.visualization.overlays import sheet
from repre_mm.visualization.text import letters

_TILE, _COLUMNS, _RED = 96, 6, (220, 30, 30)


def retrieval_sheet(query: np.ndarray, box: QueryBox, hits: dict[str, dict[str, list[Hit]]]) -> np.ndarray:
    """One row per encoder: the query's image with the query in a red box, then the hits, nearest first, six in a row.

    Each tile shows a patch, framed in red, with half its size around it, black beyond the image.

    Args:
        query: The image of the query, (H, W, 3) uint8 RGB.
        box: The query.
        hits: Encoder -> representation -> hits; the place of a missing representation says so.

    Returns:
        (H, W, 3) uint8.
    """
    names = list(dict.fromkeys(name for found in hits.values() for name in found))
    most = max((len(found) for one in hits.values() for found in one.values()), default=1)
    shown = _query(query, box, _size(most))
    rows = [[shown, *(_block(found.get(name), most) for name in names)] for found in hits.values()]
    captions = ['query', *(f'{name}: nearest {most}' for name in names)]
    return sheet(rows, captions, list(hits) if len(hits) > 1 or list(hits) != [''] else None)


def _size(most: int) -> tuple[int, int]:
    """Width and height of a block for that many tiles."""
    return _COLUMNS * _TILE, -(-max(most, 1) // _COLUMNS) * _TILE


def _query(pixels: np.ndarray, box: QueryBox, size: tuple[int, int]) -> np.ndarray:
    """The image, as large as fits on a white canvas at least two tiles high, with the query framed."""
    image = Image.fromarray(pixels)
    width, height = size[0], max(size[1], 2 * _TILE)
    scale = min(width / image.width, height / image.height)
    canvas = Image.new('RGB', (width, height), 'white')
    canvas.paste(image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))))
    left, top = box[0] * scale, box[1] * scale
    frame = (left, top, left + box[2] * scale - 1, top + box[3] * scale - 1)
    ImageDraw.Draw(canvas).rectangle(frame, outline=_RED, width=max(2, height // 100))
    return np.array(canvas)


def _block(hits: list[Hit] | None, most: int) -> np.ndarray:
    """Tiles in rows of six, room for ``most``."""
    canvas = Image.new('RGB', _size(most), 'white')
    if hits is None:
        ImageDraw.Draw(canvas).text((8, 8), 'no projector', (110, 118, 129), letters(14))
    for index, hit in enumerate(hits or ()):
        left, top, width, height = hit.box
        around = (left - width // 2, top - height // 2, left + width + width // 2, top + height + height // 2)
        image = Image.fromarray(hit.read()).crop(around)
        side = _TILE - 4
        ImageDraw.Draw(image).rectangle(
            (left - around[0], top - around[1], left - around[0] + width - 1, top - around[1] + height - 1),
            outline=_RED,
            width=max(1, round(max(image.size) / 50)),
        )
        # The longer side fills the tile.
        scale = side / max(image.size)
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        canvas.paste(image, (index % _COLUMNS * _TILE, index // _COLUMNS * _TILE))
    return np.array(canvas)
