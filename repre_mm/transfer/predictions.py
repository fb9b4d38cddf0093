"""Draw the predictions of a detector or segmentor beside the ground truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from repre_mm.visualization import draw_labels, draw_objects, save_png, sheet


class PredictionPicturesHook(Hook):
    """Save ``FOLDER/NAME.png`` for the first test images: image, ground truth and prediction side by side.

    Args:
        folder: Where the pictures go.
        num_images: How many images.
        score_threshold: Objects below this score are not drawn; the pictures state it.

    Attributes:
        rows: What was drawn, one triple of pictures per image.
    """

    priority = 'LOW'

    def __init__(self, folder: str | os.PathLike, num_images: int = 16, score_threshold: float = 0.3) -> None:
        self.folder = Path(folder)
        self.num_images = num_images
        self.score_threshold = score_threshold
        self.rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[BaseDataElement]
    ) -> None:
        """Draw the batch, until there are enough pictures."""
        if not is_main_process():
            return
        names = runner.test_dataloader.dataset.metainfo['classes']
        for sample in outputs[: self.num_images - len(self.rows)]:
            image = mmcv.imread(sample.img_path, channel_order='rgb')
            draw = self._segments if 'pred_sem_seg' in sample else self._objects
            row = (draw_labels(image, np.full(image.shape[:2], 255), names), *draw(image, sample, names))
            found = 'prediction' if 'pred_sem_seg' in sample else f'prediction, scores from {self.score_threshold:g}'
            save_png(sheet([row], ['image', 'ground truth', found]), self.folder / f'{Path(sample.img_path).stem}.png')
            self.rows.append(row)

    def _objects(self, image: np.ndarray, sample: BaseDataElement, names: Sequence[str]) -> tuple[np.ndarray, ...]:
        found = sample.pred_instances.cpu().numpy()
        found = found[found.scores >= self.score_threshold]
        # The ground truth is read after the resizing, so it has the image's own size.
        truth = sample.gt_instances
        masks = truth.masks.to_ndarray().astype(bool)
        boxes = truth.bboxes.cpu().numpy()
        return (
            draw_objects(image, boxes, masks, truth.labels.cpu().numpy(), names),
            draw_objects(image, found.bboxes, found.masks, found.labels, names, found.scores),
        )

    def _segments(self, image: np.ndarray, sample: BaseDataElement, names: Sequence[str]) -> tuple[np.ndarray, ...]:
        truth, found = (getattr(sample, key).data[0].cpu().numpy() for key in ('gt_sem_seg', 'pred_sem_seg'))
        return draw_labels(image, truth, names), draw_labels(image, found, names)
