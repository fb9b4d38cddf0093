"""All of repre_mm/transfer through the real Runner: Mask R-CNN and SETR from a checkpoint, a step, scores, pictures."""

import math
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.tools import run_tool
from fixtures.transfer import (
    DETECTION,
    SEGMENTATION,
    TOY,
    VIT_DETECTION,
    make_encoder_checkpoint,
    make_scenes,
    transfer_config,
)
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from PIL import Image

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.datasets import read_image
from repre_mm.engine.initial_weights import start_from
from repre_mm.engine.launch import build_runner
from repre_mm.toy_scenes.objects import CLASSES
from repre_mm.transfer import predictions
from repre_mm.transfer.loading import load_trained
from repre_mm.transfer.predictions import PredictionPicturesHook
from repre_mm.visualization import sheet

CONFIGS = {'detection': DETECTION, 'segmentation': SEGMENTATION}
SCORES = {
    'detection': {'coco/bbox_mAP', 'coco/segm_mAP'},
    'segmentation': {'mIoU', 'mAcc'},
}
NUM_CLASSES = {'detection': 10, 'segmentation': 14}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp('scenes'))


class Trained:
    """A run of one step, and what its encoder started from."""

    def __init__(self, task: str, scenes: Path, work_dir: Path) -> None:
        cfg = transfer_config(CONFIGS[task], scenes, work_dir)
        self.task, self.work_dir = task, work_dir
        checkpoint = work_dir.parent / f'{task}_encoder.pth'
        self.source = make_encoder_checkpoint(cfg, checkpoint)
        self.runner: Runner = build_runner(cfg)
        self.report = start_from(self.runner, checkpoint)
        self.start = {key: value.clone() for key, value in self.runner.model.backbone.state_dict().items()}
        self.heads_at_start = {key: value.clone() for key, value in self.runner.model.state_dict().items()}
        self.runner.train()
        (self.checkpoint,) = work_dir.glob('*_1.pth')


@pytest.fixture(scope='module')
def both(scenes, tmp_path_factory):
    """Task -> its run."""
    torch.set_num_threads(1)
    return cache(lambda task: Trained(task, scenes, tmp_path_factory.mktemp(task) / 'run'))


@pytest.fixture(params=['detection', 'segmentation'])
def trained(request, both) -> Trained:
    return both(request.param)


@pytest.fixture
def saved(request, both, scenes) -> tuple[str, str, str]:
    """A run's config, checkpoint, and an image."""
    task = request.function.__name__.rpartition('_')[2]
    image = next((scenes / 'coco/val2017').iterdir())
    return str(both(task).work_dir / CONFIGS[task].name), str(both(task).checkpoint), str(image)


def test_a_step_from_the_checkpoint(trained):
    assert trained.report.filled > 0.95
    for key, value in trained.source.items():
        if key in trained.start and trained.start[key].shape == value.shape:
            torch.testing.assert_close(trained.start[key], value)
    assert set(trained.report.resized) == ({'pos_embed'} if trained.task == 'segmentation' else set())

    now = trained.runner.model.state_dict()
    moved = {key.split('.')[0] for key, value in trained.heads_at_start.items() if not torch.equal(now[key], value)}
    expected = {'detection': {'backbone', 'neck', 'rpn_head', 'roi_head'}}
    assert moved == expected.get(trained.task, {'backbone', 'decode_head', 'auxiliary_head'})
    far = max(
        (now[f'backbone.{key}'] - value).abs().max() for key, value in trained.start.items() if 'index' not in key
    )
    assert far < 0.01, 'the weights were initialised again after the checkpoint was loaded'

    model, count = trained.runner.model, NUM_CLASSES[trained.task]
    if trained.task == 'detection':
        assert model.roi_head.bbox_head.fc_cls.out_features == count + 1
        assert model.roi_head.mask_head.conv_logits.out_channels == count
        assert trained.runner.train_dataloader.dataset.metainfo['classes'] == list(CLASSES)
    else:
        assert model.decode_head.conv_seg.out_channels == model.auxiliary_head.conv_seg.out_channels == count


def test_scores_and_pictures(trained, scenes, monkeypatch):
    captions = []
    monkeypatch.setattr(predictions, 'sheet', lambda rows, names: captions.append(names[2]) or sheet(rows, names))
    validated = {key: trained.runner.message_hub.get_scalar(f'val/{key}').current() for key in SCORES[trained.task]}
    cfg = transfer_config(CONFIGS[trained.task], scenes, trained.work_dir, test=True)
    runner = build_runner(cfg)
    load_trained(runner.model, runner.cfg, trained.checkpoint)
    hook = PredictionPicturesHook(trained.work_dir / 'pictures', num_images=3, score_threshold=0.0)
    runner.register_hook(hook)
    scores = runner.test()
    assert len(hook.rows) == 3
    assert set(captions) == {'prediction, scores from 0' if trained.task == 'detection' else 'prediction'}
    assert SCORES[trained.task] <= set(scores)
    for key, value in validated.items():
        assert math.isclose(scores[key], value, abs_tol=1e-6), 'the loaded model scores as the trained one did'
    pictures = sorted((trained.work_dir / 'pictures').glob('*.png'))
    assert len(pictures) == 3
    shape = np.asarray(Image.open(pictures[0])).shape
    assert shape[0] > 256
    assert shape[1] > 3 * 384, 'image, ground truth and prediction side by side'


def test_perfect_predictions_score_perfectly(scenes, tmp_path):
    """The scores measure what they say: the ground truth itself, given as the prediction."""
    runner = build_runner(transfer_config(SEGMENTATION, scenes, tmp_path / 'run', test=True))

    def answer(data):
        for sample in data['data_samples']:
            sample.pred_sem_seg = sample.gt_sem_seg
        return data['data_samples']

    runner.model.test_step = answer
    assert runner.test()['mIoU'] == 100


def test_other_classes_are_refused(both, scenes, tmp_path):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run', test=True)
    cfg.test_dataloader.dataset.metainfo.classes = ['one', 'two']
    runner = build_runner(cfg)
    with pytest.raises(CheckpointError, match=r'was trained for 14 classes .*2 classes \(one'):
        load_trained(runner.model, runner.cfg, both('segmentation').checkpoint)


def test_resume_keeps_what_was_trained(both, scenes, tmp_path):
    first = both('segmentation')
    shutil.copytree(first.work_dir, tmp_path / 'run')
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run' / first.checkpoint.name))
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run', **{'train_cfg.max_iters': 2})
    cfg.resume = True
    cfg.experiment_name += '_resumed'
    runner = build_runner(cfg)
    assert start_from(runner, first.work_dir.parent / 'segmentation_encoder.pth') is None
    runner.load_or_resume = lambda load=runner.load_or_resume: (load(), check())[0]
    saved = read_checkpoint(first.checkpoint)['state_dict']

    def check():
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, saved[key]), key

    runner.train()
    assert runner.iter == 2


def test_a_plain_vit_detects(scenes, tmp_path):
    cfg = transfer_config(VIT_DETECTION, scenes, tmp_path / 'run')
    encoder = MODELS.build(Config.fromfile(TOY.parent / 'repre_mocov3_vit-tiny_toy.py').model.algorithm.backbone)
    torch.save(
        {'state_dict': {f'backbone.{key}': value for key, value in encoder.state_dict().items()}}, tmp_path / 'a'
    )
    runner = build_runner(cfg)
    assert start_from(runner, tmp_path / 'a').filled == 1
    runner.train()
    assert runner.message_hub.get_scalar('val/coco/bbox_mAP').current() >= 0


def test_pictures_of_new_images(trained, scenes, tmp_path, monkeypatch, capsys):
    """`repre predict` draws what OpenMMLab's own inference finds."""
    config, folder = str(trained.work_dir / CONFIGS[trained.task].name), tmp_path / 'new'
    (folder / 'deep').mkdir(parents=True)
    for number, source in enumerate(sorted((scenes / 'coco/val2017').iterdir())[:2]):
        shutil.copy(source, folder / f'deep/{number}.jpg')
    (folder / 'cut.jpg').write_bytes((folder / 'deep/0.jpg').read_bytes()[:300])
    drawn = []
    draw = predictions.draw_found
    monkeypatch.setattr(predictions, 'draw_found', lambda *args: (drawn.append(args), draw(*args))[1])
    words = [config, trained.checkpoint, folder, '--out', tmp_path / 'out', '--score-threshold', 0.25]
    run_tool(monkeypatch, 'predict', *words)
    printed = capsys.readouterr()
    assert '2 pictures; 1 images could not be read' in printed.out and 'cut.jpg' in printed.err
    assert sorted(p.name for p in (tmp_path / 'out').rglob('*.*')) == ['0.jpg.png', '1.jpg.png']
    _, sample, names, threshold = drawn[0]
    assert threshold == 0.25 and len(names) == NUM_CLASSES[trained.task]
    if trained.task == 'detection':
        from mmdet.apis import inference_detector, init_detector

        expected = inference_detector(init_detector(config, str(trained.checkpoint), device='cpu'), sample.img_path)
        torch.testing.assert_close(sample.pred_instances.bboxes, expected.pred_instances.bboxes)
    else:
        from mmseg.apis import inference_model, init_model

        expected = inference_model(init_model(config, str(trained.checkpoint), device='cpu'), sample.img_path)
        assert torch.equal(sample.pred_sem_seg.data, expected.pred_sem_seg.data)


# Saved configs and checkpoints in the inferencers of mmdet and mmseg.


def test_inferencers_of_detection(saved, tmp_path):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    config, checkpoint, image = saved
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


def test_inferencers_of_segmentation(saved, tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    config, checkpoint, image = saved
    inferencer = MMSegInferencer(config, checkpoint, device='cpu', show_progress=False)
    labels = inferencer(image, out_dir=str(tmp_path / 'out'))['predictions']
    assert labels.shape == read_image(image).shape[:2]
    assert (tmp_path / 'out/vis' / Path(image).name).is_file()
    assert inferencer.model.dataset_meta['classes'][0] == 'sky'
    model = init_model(config, checkpoint, device='cpu')
    found = inference_model(model, image).pred_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(found, labels)


def test_the_score_threshold_of_the_command_detection(saved, scenes, tmp_path, monkeypatch):
    captions = []
    monkeypatch.setattr(predictions, 'sheet', lambda rows, names: captions.append(names[2]) or sheet(rows, names))
    config, checkpoint, _ = saved
    words = ['--work-dir', tmp_path, '--pictures', 1, '--score-threshold', 0.9]
    run_tool(monkeypatch, 'test', config, checkpoint, '--data', scenes / 'coco', *words)
    assert captions == ['prediction, scores from 0.9']
