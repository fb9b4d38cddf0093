"""Reading label maps of semantic segmentation, damaged ones among them."""

from __future__ import annotations

import logging

from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from repre_mm.datasets.reading import ImageReadError
from repre_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """mmseg's ``LoadAnnotations``, which also says which file it cannot read or which does not fit its image.

    Required keys: ``seg_map_path``, ``ori_shape`` ((H, W), see :class:`repre_mm.LoadImage`) and those that
    mmseg's datasets set. Added key: ``gt_seg_map`` (uint8, (H, W)).

    Args:
        skip_damaged: log a bad file as an error and give None, for which mmengine's datasets take another image in
            training; default: raise.
    """

    def __init__(self, skip_damaged: bool = False) -> None:
        self.skip_damaged = skip_damaged
        self._load = TRANSFORMS.build({'type': 'mmseg.LoadAnnotations'})

    def transform(self, results: dict) -> dict | None:
        """Add the labels to ``results``; raises :class:`repre_mm.datasets.ImageReadError`, or gives None."""
        try:
            return self._checked(results)
        except ImageReadError as error:
            if not self.skip_damaged:
                raise
            print_log(f'{error}; another image takes its place', logger='current', level=logging.ERROR)
            return None

    def _checked(self, results: dict) -> dict:
        path = results['seg_map_path']
        try:
            results = self._load(results)
        except Exception as error:  # Pillow's decoders raise whatever damaged bytes make them raise
            raise ImageReadError(path, f'it is no label map: {type(error).__name__}: {error}') from error
        labels, image = results['gt_seg_map'].shape, tuple(results['ori_shape'])
        if labels != image:
            raise ImageReadError(path, f'labels of shape {labels} do not fit their image of {image} (height, width)')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(skip_damaged={self.skip_damaged})'
