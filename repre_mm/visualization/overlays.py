"""Overlays of masks and boxes on images, and sheets of pictures."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from repre_mm.visualization.maps import enlarged
from repre_mm.visualization.text import letters

_MIN_SIDE = 320  # pixels: smaller images are enlarged until a name can be read on them
_OPACITY = 0.5
_GAP, _MARGIN, _CAPTION = 6, 12, 22
_INK = (32, 36, 42)


def label_colours(count: int) -> np.ndarray:
    """Distinct colours for labels, (count, 3) uint8 RGB."""
    golden = (math.sqrt(5) - 1) / 2
    colours = [colorsys.hsv_to_rgb(i * golden % 1, 0.85 if i % 2 else 0.6, 0.95) for i in range(count)]
    return np.rint(np.array(colours).reshape(-1, 3) * 255).astype(np.uint8)


def draw_objects(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    labels: np.ndarray,
    names: Sequence[str],
    *,
    boxes: np.ndarray | None = None,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draw masks over an image in the colours of their classes, with names and, where there are any, boxes.

    Args:
        image: (H, W, 3) uint8 RGB; enlarged by a whole factor k where it is small.
        masks: N of (H, W) bool.
        labels: (N,) indices into ``names``.
        names: Of all classes.
        boxes: (N, 4), left, top, right, bottom in pixels, which then hold the names. Without them a name stands in its
            mask, if that covers at least 0.5 % of the image.
        scores: (N,) in [0, 1], written beside the names.

    Returns:
        (k H, k W, 3) uint8.
    """
    blended, colours = image.astype(np.float32), label_colours(len(names))[labels]
    for mask, colour in zip(masks, colours, strict=True):
        blended[mask] = (1 - _OPACITY) * blended[mask] + _OPACITY * colour
    side = min(image.shape[:2])
    factor = max(1, round(_MIN_SIDE / side))
    picture = Image.fromarray(enlarged(np.rint(blended).astype(np.uint8), factor * side))
    draw = ImageDraw.Draw(picture)
    for i, label in enumerate(labels):
        if boxes is not None:
            left, top, right, bottom = (float(edge) * factor for edge in boxes[i])
            corners = (left, top, max(left, right - 1), max(top, bottom - 1))
            draw.rectangle(corners, outline=tuple(colours[i].tolist()), width=2)
            place, anchor = (left + 4, max(0, top) + 3), 'la'
        else:
            rows, columns = np.nonzero(masks[i])
            if len(rows) < 0.005 * masks[i].size:
                continue
            # A pixel of the region itself, near its middle: a mean could lie outside.
            middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            place, anchor = (int(columns[middle]) * factor, int(rows[middle]) * factor), 'mm'
        text = names[label] if scores is None else f'{names[label]} {scores[i]:.2f}'
        draw.text(place, text, 'white', letters(11), anchor=anchor, stroke_width=2, stroke_fill='black')
    return np.array(picture)


def draw_labels(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draw a label map (H, W) as :func:`draw_objects` draws masks; pixels of other values (255) stay as they are."""
    present = np.array([label for label in np.unique(labels) if label < len(names)], dtype=int)
    return draw_objects(image, [labels == label for label in present], present, names)


def sheet(
    rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str] | None, row_captions: Sequence[str] | None = None
) -> np.ndarray:
    """Place pictures in rows of equal length, all scaled to the width of the widest.

    Args:
        rows: Pictures (h, w, 3) uint8.
        captions: One for each column, above it.
        row_captions: One for each row, on its left.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: The rows differ in length, or the number of captions does not fit.
    """
    columns = len(rows[0]) if captions is None else len(captions)
    if any(len(row) != columns for row in rows):
        raise ValueError(f'every row needs {columns} pictures, one for each caption; got {list(map(len, rows))}')
    font = letters(14)
    width = max(tile.shape[1] for row in rows for tile in row)
    fitted = [[_fit(tile, width) for tile in row] for row in rows]
    left, y = _MARGIN, _MARGIN + (_CAPTION if captions else 0)
    if row_captions:
        left += math.ceil(max(map(font.getlength, row_captions))) + 2 * _GAP
    height = y + _MARGIN - _GAP + sum(max(tile.height for tile in row) + _GAP for row in fitted)
    canvas = Image.new('RGB', (left + _MARGIN + columns * (width + _GAP) - _GAP, height), 'white')
    draw = ImageDraw.Draw(canvas)
    for column, caption in enumerate(captions or ()):
        draw.text((left + column * (width + _GAP), _MARGIN - 2), caption, _INK, font)
    for row, caption in zip(fitted, row_captions or [''] * len(rows), strict=True):
        draw.text((_MARGIN, y), caption, _INK, font)
        for column, tile in enumerate(row):
            canvas.paste(tile, (left + column * (width + _GAP), y))
        y += max(tile.height for tile in row) + _GAP
    return np.array(canvas)


def _fit(tile: np.ndarray, width: int) -> Image.Image:
    image = Image.fromarray(tile)
    return image if image.width == width else image.resize((width, round(image.height * width / image.width)))
