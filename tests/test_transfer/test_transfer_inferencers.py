"""Configs and checkpoints that a training saved, in the inferencers of mmdet and mmseg."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.transfer import DETECTION, SEGMENTATION, make_scenes, transfer_config

from repre_mm.datasets import read_image
from repre_mm.engine.launch import build_runner


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp('scenes'))


def train(config: Path, scenes: Path, work_dir: Path) -> tuple[str, str, str]:
    """A run's config, checkpoint, and an image."""
    torch.set_num_threads(1)
    build_runner(transfer_config(config, scenes, work_dir)).train()
    (checkpoint,) = work_dir.glob('*_1.pth')
    image = next((scenes / 'coco/val2017').iterdir())
    return str(work_dir / config.name), str(checkpoint), str(image)


def test_detection(scenes, tmp_path):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    config, checkpoint, image = train(DETECTION, scenes, tmp_path / 'run')
    inferencer = DetInferencer(config, checkpoint, device='cpu', show_progress=False)
    inferencer(image, out_dir=str(tmp_path / 'out'), pred_score_thr=0)
    assert (tmp_path / 'out/vis' / Path(image).name).is_file()
    assert inferencer.model.dataset_meta['classes'][0] == 'bird'
    from_file = inferencer(image, return_datasamples=True)['predictions'][0].pred_instances
    from_array = inferencer(read_image(image, channel_order='bgr'), return_datasamples=True)['predictions'][0]
    assert len(from_file) > 0
    torch.testing.assert_close(from_array.pred_instances.bboxes, from_file.bboxes)
    found = inference_detector(init_detector(config, checkpoint, device='cpu'), image).pred_instances
    torch.testing.assert_close(found.bboxes, from_file.bboxes)


def test_segmentation(scenes, tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    config, checkpoint, image = train(SEGMENTATION, scenes, tmp_path / 'run')
    inferencer = MMSegInferencer(config, checkpoint, device='cpu', show_progress=False)
    labels = inferencer(image, out_dir=str(tmp_path / 'out'))['predictions']
    assert labels.shape == read_image(image).shape[:2]
    assert (tmp_path / 'out/vis' / Path(image).name).is_file()
    assert inferencer.model.dataset_meta['classes'][0] == 'sky'
    model = init_model(config, checkpoint, device='cpu')
    found = inference_model(model, image).pred_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(found, labels)
