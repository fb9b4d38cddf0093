"""Steps of a pipeline that read files: images, and label maps of segmentation."""

from __future__ import annotations

import logging
from typing import Literal

from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from repre_mm.datasets.reading import MAX_PIXELS, ImageReadError, ValueRange, decode_image, read_bytes
from repre_mm.registry import TRANSFORMS


class _ReadFile(BaseTransform):
    """A step that reads a file and may skip a damaged one.

    Args:
        skip_damaged: Log a damaged file as an error and return None, for which the datasets of mmdet and mmseg take
            another image in training; by default the :class:`ImageReadError` goes on, as
            :class:`repre_mm.ImageFolder` needs it.
    """

    def __init__(self, skip_damaged: bool = False) -> None:
        self.skip_damaged = skip_damaged

    def transform(self, results: dict) -> dict | None:
        """Add what is read to ``results``."""
        try:
            return self._read(results)
        except ImageReadError as error:
            if not self.skip_damaged:
                raise
            print_log(f'{error}; another image takes its place', logger='current', level=logging.ERROR)
            return None


@TRANSFORMS.register_module()
class LoadImage(_ReadFile):
    """Read ``results['img_path']`` as :func:`read_image` does: the first step of a pipeline.

    Required key: ``img_path``. Optional keys, which :class:`repre_mm.ImageFolder` sets: ``img_bytes``, the file already
    read; ``max_pixels`` and ``value_range``, in place of this step's. Added keys: ``img`` (uint8, (H, W, 3)),
    ``img_shape`` and ``ori_shape`` (both (H, W)).

    Args:
        channel_order: ``'rgb'``, or ``'bgr'`` for the colour transforms of mmpretrain and mmcv, whose ``ColorJitter``
            takes blue for red on RGB images. With ``'bgr'`` the data preprocessor must say ``to_rgb=True``.
        max_pixels: See :func:`read_image`.
        skip_damaged: Log a damaged file and return None, instead of raising; for training with mmdet and mmseg.
        value_range: See :func:`read_image`.

    Raises:
        ImageReadError: In a call: the file cannot be read.
    """

    def __init__(
        self,
        channel_order: Literal['rgb', 'bgr'] = 'rgb',
        max_pixels: int = MAX_PIXELS,
        skip_damaged: bool = False,
        value_range: ValueRange = 'depth',
    ) -> None:
        super().__init__(skip_damaged)
        if channel_order not in ('rgb', 'bgr'):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', not {channel_order!r}")
        self.channel_order = channel_order
        self.max_pixels = max_pixels
        self.value_range = value_range

    def _read(self, results: dict) -> dict:
        data = results.pop('img_bytes', None) or read_bytes(results['img_path'])
        results['img'] = decode_image(
            results['img_path'],
            data,
            channel_order=self.channel_order,
            max_pixels=results.get('max_pixels', self.max_pixels),
            value_range=results.get('value_range', self.value_range),
        )
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadLabelMap(_ReadFile):
    """mmseg's ``LoadAnnotations``, with an error that names a file that is damaged or does not fit its image.

    Required keys: ``seg_map_path``, ``ori_shape`` ((H, W), see :class:`LoadImage`) and those that mmseg's datasets set.
    Added key: ``gt_seg_map`` (uint8, (H, W)).

    Args:
        skip_damaged: Log a damaged file and return None, instead of raising; for training.

    Raises:
        ImageReadError: In a call: the file cannot be read or does not fit its image.
    """

    def __init__(self, skip_damaged: bool = False) -> None:
        super().__init__(skip_damaged)
        self._load = TRANSFORMS.build({'type': 'mmseg.LoadAnnotations'})

    def _read(self, results: dict) -> dict:
        path = results['seg_map_path']
        try:
            results = self._load(results)
        except Exception as error:  # Pillow's decoders raise errors of any class on damaged bytes
            raise ImageReadError(path, f'it is no label map: {type(error).__name__}: {error}') from error
        labels, image = results['gt_seg_map'].shape, tuple(results['ori_shape'])
        if labels != image:
            raise ImageReadError(path, f'labels of shape {labels} do not fit their image of {image} (height, width)')
        return results
