"""Overlays of objects and labels on images, and sheets of pictures."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Sequence

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
    boxes: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes, masks and names over an image.

    Args:
        image: (H, W, 3) uint8 RGB; enlarged by a whole factor k where it is small.
        boxes: (N, 4), left, top, right, bottom in pixels.
        masks: (N, H, W) bool.
        labels: (N,) indices into ``names``.
        names: Of all classes.
        scores: (N,) in [0, 1], written beside the names.

    Returns:
        (k H, k W, 3) uint8.
    """
    colours = label_colours(len(names))
    picture, factor = _blended(image, masks.astype(bool), colours[labels])
    draw, font = ImageDraw.Draw(picture), letters(11)
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        left, top, right, bottom = (float(side) * factor for side in box)
        colour = tuple(int(value) for value in colours[label])
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
        text = names[label] if scores is None else f'{names[label]} {scores[i]:.2f}'
        place = draw.textbbox((left + 3, max(0, top)), text, font)
        draw.rectangle((place[0] - 3, place[1] - 1, place[2] + 2, place[3] + 1), fill=colour)
        draw.text((left + 3, max(0, top)), text, 'black', font)
    return np.array(picture)


def draw_labels(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draw a label map over an image, and the names of classes that cover at least 0.5 % of it.

    Args:
        image: (H, W, 3) uint8 RGB; enlarged by a whole factor k where it is small.
        labels: (H, W) indices into ``names``; pixels of other values (255) stay as they are.
        names: Of all classes.

    Returns:
        (k H, k W, 3) uint8.
    """
    present = [label for label in np.unique(labels) if label < len(names)]
    picture, factor = _blended(image, [labels == label for label in present], label_colours(len(names))[present])
    draw, font = ImageDraw.Draw(picture), letters(11)
    for label in present:
        rows, columns = np.nonzero(labels == label)
        if len(rows) < 0.005 * labels.size:
            continue
        # A pixel of the region itself, near its middle: a mean could lie outside.
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        place = (int(columns[middle]) * factor, int(rows[middle]) * factor)
        draw.text(place, names[label], 'white', font, anchor='mm', stroke_width=2, stroke_fill='black')
    return np.array(picture)


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


def _blended(image: np.ndarray, masks: Iterable[np.ndarray], colours: np.ndarray) -> tuple[Image.Image, int]:
    """Colour masks, and enlarge a small image by a whole factor, so that names can be read; also returns the factor."""
    blended = image.astype(np.float32)
    for mask, colour in zip(masks, colours, strict=True):
        blended[mask] = (1 - _OPACITY) * blended[mask] + _OPACITY * colour
    side = min(image.shape[:2])
    factor = max(1, round(_MIN_SIDE / side))
    return Image.fromarray(enlarged(np.rint(blended).astype(np.uint8), factor * side)), factor


def _fit(tile: np.ndarray, width: int) -> Image.Image:
    image = Image.fromarray(tile)
    return image if image.width == width else image.resize((width, round(image.height * width / image.width)))
