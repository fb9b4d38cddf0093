"""Pipeline step from an image file to its views, and the sizes that it gives."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.reading import MAX_PIXELS, ValueRange, decode_image, jpeg_shape, read_bytes
from repre_mm.datasets.views.pixels import planes_first, resized_crop
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
    :class:`repre_mm.LoadImage`. Changed key: ``img``, a list of the views, uint8 (size, size, 3) in BGR: the data
    preprocessor must say ``to_rgb=True``. Added keys: ``img_shape`` and ``ori_shape``, both (H, W) of the whole image,
    upright.

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
        image, shape, reduction = results.get('img'), None, 1
        if image is None:
            path = results['img_path']
            data = results.pop('img_bytes', None) or read_bytes(path)
            shape = jpeg_shape(data)
            if shape:  # the views of a JPEG are drawn first, so that it can be decoded small
                boxes = self._draw(*shape)
                reduction = self._reduction(boxes)
            limits = {key: results.get(key, getattr(self, key)) for key in ('max_pixels', 'value_range')}
            image = decode_image(path, data, channel_order='bgr', reduction=reduction, **limits)
        if not shape:
            shape = image.shape[:2]
            boxes = self._draw(*shape)
        # Not always the reduction asked for: a file that OpenCV cannot decode comes at full size.
        factor = round(max(shape) / max(image.shape[:2]))
        views = []
        for (crop, steps), box in zip(self.views, boxes, strict=True):
            view = resized_crop(image, *_reduce(box, factor, image.shape), crop.scale, crop.interpolation)
            for step in steps:
                view = step(view)
            views.append(planes_first(view))
        results.update(img=views, img_shape=shape, ori_shape=shape)
        return results

    def _draw(self, height: int, width: int) -> list[_Box]:
        return [crop.draw(height, width) for crop, _ in self.views]

    def _reduction(self, boxes: Sequence[_Box]) -> int:
        """The largest reduction of the decoded image for which no view must be enlarged."""
        room = min(min(box[2:]) // crop.scale for box, (crop, _) in zip(boxes, self.views, strict=True))
        return next((factor for factor in (8, 4, 2) if factor <= room), 1)


def view_sizes(pipeline: Sequence[dict]) -> list[int]:
    """Sides of the square views that a pre-training pipeline gives, in their order.

    Args:
        pipeline: The ``pipeline`` of a dataset's config, with one ``MultiView``, each of whose views has a
            ``RandomResizedCrop``.

    Returns:
        One side in pixels for each view: ``[224, 224]``, or ``[224, 224, 96, ...]`` with local crops.

    Raises:
        DatasetError: There is no ``MultiView`` in the pipeline, or no crop in a view.
    """
    sizes = []
    try:
        multi_view = next(step for step in pipeline if step['type'].endswith('MultiView'))
        counts = multi_view['num_views']
        counts = [counts] if isinstance(counts, int) else counts
        for count, steps in zip(counts, multi_view['transforms'], strict=True):
            sizes += [next(step['scale'] for step in steps if step['type'] == 'RandomResizedCrop')] * count
    except StopIteration as error:
        raise DatasetError(
            "the pipeline has no dict(type='MultiView', num_views=..., transforms=...) whose views all have a "
            "dict(type='RandomResizedCrop', scale=...)"
        ) from error
    return sizes


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
