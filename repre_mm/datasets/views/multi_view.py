"""Pipeline step from an image file to its views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from repre_mm.datasets.reading import MAX_PIXELS, ValueRange, decode_image, jpeg_shape, read_bytes
from repre_mm.datasets.views.pixels import planes_first
from repre_mm.datasets.views.steps import RandomResizedCrop, Step, build_step
from repre_mm.registry import TRANSFORMS

_Box = tuple[int, int, int, int]


@TRANSFORMS.register_module()
class FastMultiView(BaseTransform):
    """Read an image and cut its views: ``repre_mm.LoadImage`` (BGR) and mmpretrain's ``MultiView``, many times faster.

    The views follow the same distributions; pixels differ by rounding (a few of 255), after a blur a little more. It is
    fast because crop and resizing are one vectorised step, all steps stay in 8 bits and in OpenCV, and the image is
    decoded once, at 1/2, 1/4 or 1/8 of its size where every view is smaller than that.

    Required key: ``img_path``, or ``img`` from another reader, uint8 (H, W, 3) in BGR. Optional keys: see
    :class:`repre_mm.LoadImage`. Changed key: ``img``, a list of
    the views, uint8 (size, size, 3) in BGR: the data preprocessor must say ``to_rgb=True``. Added keys: ``img_shape``
    and ``ori_shape``, both (H, W) of the whole image, upright.

    Args:
        num_views: Number of views from each list of steps.
        transforms: Lists of steps, each starting with a ``RandomResizedCrop`` with ``backend='pillow'``. After it:
            ``RandomFlip``, ``RandomApply``, ``ColorJitter``, ``RandomGrayscale``, ``GaussianBlur``, ``Solarize``, as in
            ``configs/_base_/views``.
        max_pixels: Refuse larger files, see :func:`repre_mm.datasets.read_image`.
        value_range: See :func:`repre_mm.datasets.read_image`.

    Raises:
        ValueError: There is no fast version of a view; the message says why.
        ImageReadError: In a call: the file cannot be read.
    """

    def __init__(
        self,
        num_views: int | Sequence[int],
        transforms: Sequence[Sequence[dict]],
        max_pixels: int = MAX_PIXELS,
        value_range: ValueRange = 'depth',
    ) -> None:
        counts = [num_views] if isinstance(num_views, int) else list(num_views)
        if len(counts) != len(transforms):
            raise ValueError(f'num_views has {len(counts)} numbers for {len(transforms)} lists of steps in transforms')
        self.views: list[tuple[RandomResizedCrop, list[Step]]] = []
        for count, configs in zip(counts, transforms, strict=True):
            steps = [build_step(config) for config in configs]
            if [isinstance(step, RandomResizedCrop) for step in steps] != [True] + [False] * (len(steps) - 1):
                raise ValueError(f'each view must start with its one RandomResizedCrop, not so {configs}')
            self.views += [(steps[0], steps[1:])] * count
        self.max_pixels = max_pixels
        self.value_range = value_range

    def transform(self, results: dict) -> dict:
        """Turn ``results['img_path']`` into the list of views ``results['img']``."""
        if 'img' in results:
            image = results['img']
            shape = image.shape[:2]
            boxes = self._draw(*shape)
        else:
            image, shape, boxes = self._read(results)
        results['img_shape'] = results['ori_shape'] = shape
        results['img'] = [self._cut(image, view, box) for view, box in zip(self.views, boxes, strict=True)]
        return results

    def _read(self, results: dict) -> tuple[np.ndarray, tuple[int, int], list[_Box]]:
        """Decode the image, reduced if possible; return it, its height and width in the file, and boxes in it."""
        path = results['img_path']
        data = results.pop('img_bytes', None) or read_bytes(path)
        max_pixels = results.get('max_pixels', self.max_pixels)
        shape = jpeg_shape(data)
        if shape is None:
            value_range = results.get('value_range', self.value_range)
            image = decode_image(path, data, max_pixels=max_pixels, channel_order='bgr', value_range=value_range)
            shape = image.shape[:2]
            return image, shape, self._draw(*shape)
        boxes = self._draw(*shape)
        reduction = self._reduction(boxes)
        image = decode_image(path, data, max_pixels=max_pixels, channel_order='bgr', reduction=reduction)
        # Not always the reduction asked for: a file that OpenCV cannot decode comes at full size.
        factor = round(max(shape) / max(image.shape))
        return image, shape, [_reduce(box, factor, image.shape) for box in boxes]

    def _draw(self, height: int, width: int) -> list[_Box]:
        return [crop.draw(height, width) for crop, _ in self.views]

    def _reduction(self, boxes: Sequence[_Box]) -> int:
        """The largest reduction of the decoded image for which no view must be enlarged."""
        room = min(min(box[2:]) // crop.scale for box, (crop, _) in zip(boxes, self.views, strict=True))
        return next((factor for factor in (8, 4, 2) if factor <= room), 1)

    def _cut(self, image: np.ndarray, view: tuple[RandomResizedCrop, list[Step]], box: _Box) -> np.ndarray:
        crop, steps = view
        pixels = crop.cut(image, box)
        for step in steps:
            pixels = step(pixels)
        return planes_first(pixels)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self.views)} views: {self.views})'


def _reduce(box: _Box, factor: int, new_shape: Sequence[int]) -> _Box:
    """Map a box to the same image decoded ``factor`` times smaller; it stays inside and is never empty."""
    scaled = []
    for start, extent, size in zip(box[:2], box[2:], new_shape[:2], strict=True):
        # Not by the ratio of the sizes: the last block of a JPEG may reach over the edge. (In an image rotated by EXIF
        # it is the first block, and the box is off by less than one pixel of the reduced image.)
        first = min(round(start / factor), size - 1)
        scaled.append((first, max(1, min(round(extent / factor), size - first))))
    (top, height), (left, width) = scaled
    return top, left, height, width
