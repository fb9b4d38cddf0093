"""Draw what a detector or segmentor finds: beside the ground truth in a test, or alone."""

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
            blank = draw_labels(image, np.full(image.shape[:2], 255), names)
            found, caption = draw_found(image, sample, names, self.score_threshold)
            row = (blank, _draw_truth(image, sample, names), found)
            save_png(
                sheet([row], ['image', 'ground truth', caption]), self.folder / f'{Path(sample.img_path).stem}.png'
            )
            self.rows.append(row)


def draw_found(
    image: np.ndarray, sample: BaseDataElement, names: Sequence[str], score_threshold: float
) -> tuple[np.ndarray, str]:
    """Draw what a model found over an image (H, W, 3), and say what is drawn: objects from a score, or classes."""
    if 'pred_sem_seg' in sample:
        return draw_labels(image, sample.pred_sem_seg.data[0].cpu().numpy(), names), 'prediction'
    found = sample.pred_instances.cpu().numpy()
    found = found[found.scores >= score_threshold]
    masks = found.get('masks', np.zeros((len(found), *image.shape[:2]))).astype(bool)
    drawn = draw_objects(image, masks, found.labels, names, boxes=found.bboxes, scores=found.scores)
    return drawn, f'prediction, scores from {score_threshold:g}'


def _draw_truth(image: np.ndarray, sample: BaseDataElement, names: Sequence[str]) -> np.ndarray:
    if 'pred_sem_seg' in sample:
        return draw_labels(image, sample.gt_sem_seg.data[0].cpu().numpy(), names)
    # The ground truth is read after the resizing, so it has the image's own size.
    truth = sample.gt_instances
    masks = truth.masks.to_ndarray().astype(bool)
    return draw_objects(image, masks, truth.labels.cpu().numpy(), names, boxes=truth.bboxes.cpu().numpy())
