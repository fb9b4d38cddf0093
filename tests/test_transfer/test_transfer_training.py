"""Mask R-CNN and SETR through the real Runner: from a pre-trained encoder, one step, one evaluation, one picture."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.transfer import DETECTION, SEGMENTATION, make_encoder_checkpoint, make_scenes, transfer_config
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.datasets.listing import DatasetError
from repre_mm.engine.launch import build_runner
from repre_mm.toy_scenes.objects import CLASSES
from repre_mm.transfer import loading as pretrained
from repre_mm.transfer.loading import load_trained, start_from
from repre_mm.transfer.predictions import PredictionPicturesHook
from repre_mm.transfer.settings import set_up_transfer

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


@pytest.fixture(scope='module', params=['detection', 'segmentation'])
def trained(request, scenes, tmp_path_factory) -> Trained:
    torch.set_num_threads(1)
    return Trained(request.param, scenes, tmp_path_factory.mktemp(request.param) / 'run')


def test_training_starts_from_the_checkpoint(trained):
    assert trained.report.filled > 0.95
    for key, value in trained.source.items():
        if key in trained.start and trained.start[key].shape == value.shape:
            torch.testing.assert_close(trained.start[key], value)
    resized = set(trained.report.resized)
    assert resized == ({'pos_embed'} if trained.task == 'segmentation' else set())


def test_the_step_moves_encoder_and_heads(trained):
    now = trained.runner.model.state_dict()
    moved = {key.split('.')[0] for key, value in trained.heads_at_start.items() if not torch.equal(now[key], value)}
    expected = {'detection': {'backbone', 'neck', 'rpn_head', 'roi_head'}}
    assert moved == expected.get(trained.task, {'backbone', 'decode_head', 'auxiliary_head'})
    far = max(
        (now[f'backbone.{key}'] - value).abs().max() for key, value in trained.start.items() if 'index' not in key
    )
    assert far < 0.01, 'the weights were initialised again after the checkpoint was loaded'


def test_heads_follow_the_data(trained):
    model, count = trained.runner.model, NUM_CLASSES[trained.task]
    if trained.task == 'detection':
        assert model.roi_head.bbox_head.fc_cls.out_features == count + 1
        assert model.roi_head.mask_head.conv_logits.out_channels == count
        assert trained.runner.train_dataloader.dataset.metainfo['classes'] == list(CLASSES)
    else:
        assert model.decode_head.conv_seg.out_channels == model.auxiliary_head.conv_seg.out_channels == count


def test_scores_and_pictures(trained, scenes):
    validated = {key: trained.runner.message_hub.get_scalar(f'val/{key}').current() for key in SCORES[trained.task]}
    cfg = transfer_config(CONFIGS[trained.task], scenes, trained.work_dir, test=True)
    runner = build_runner(cfg)
    load_trained(runner, trained.checkpoint)
    hook = PredictionPicturesHook(trained.work_dir / 'pictures', num_images=3, score_threshold=0.0, keep=True)
    runner.register_hook(hook)
    scores = runner.test()
    assert len(hook.rows) == 3
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


def test_other_classes_are_refused(trained, scenes, tmp_path):
    cfg = transfer_config(CONFIGS[trained.task], scenes, tmp_path / 'run', test=True)
    cfg.test_dataloader.dataset.metainfo.classes = ['one', 'two']
    runner = build_runner(cfg)
    with pytest.raises(
        CheckpointError, match=rf'was trained for {NUM_CLASSES[trained.task]} classes .*2 classes \(one'
    ):
        load_trained(runner, trained.checkpoint)


def test_a_checkpoint_of_another_model_is_refused(scenes, tmp_path):
    runner = build_runner(transfer_config(SEGMENTATION, scenes, tmp_path / 'run', test=True))
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': {'backbone.cls_token': torch.zeros(1, 1, 128)}}, path)
    with pytest.raises(CheckpointError, match=r'does not fit .*setr-naive_vit-tiny_toy.py'):
        load_trained(runner, path)
    with pytest.raises(CheckpointError, match='does not fit the encoder: only'):
        start_from(runner, path)


def test_resume_keeps_what_was_trained(scenes, tmp_path):
    first = Trained('segmentation', scenes, tmp_path / 'run')
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run', **{'train_cfg.max_iters': 2})
    cfg.resume = True
    cfg.experiment_name += '_resumed'
    runner = build_runner(cfg)
    assert start_from(runner, tmp_path / 'segmentation_encoder.pth') is None
    runner.load_or_resume = lambda load=runner.load_or_resume: (load(), check())[0]
    saved = read_checkpoint(first.checkpoint)['state_dict']

    def check():
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, saved[key]), key

    runner.train()
    assert runner.iter == 2


def test_resume_without_anything_to_resume_starts_from_the_encoder(scenes, tmp_path):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run')
    source = make_encoder_checkpoint(cfg, tmp_path / 'encoder.pth')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/iter_1.pth'))  # it was removed since
    cfg.resume = True
    runner = build_runner(cfg)
    assert start_from(runner, tmp_path / 'encoder.pth').filled > 0.95
    torch.testing.assert_close(runner.model.backbone.cls_token.data, source['cls_token'])


def test_the_encoder_can_be_named_by_its_place(scenes, tmp_path):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run')
    right = make_encoder_checkpoint(cfg, tmp_path / 'encoder.pth')
    state = {f'{place}.{key}': value for place in ('one', 'two') for key, value in right.items()}
    state['one.cls_token'] = torch.zeros_like(right['cls_token'])
    torch.save(state, tmp_path / 'two.pth')
    runner = build_runner(cfg)
    with pytest.raises(CheckpointError, match=r'several encoders.*one\., two\.\. Name one as prefix \(--prefix\)'):
        start_from(runner, tmp_path / 'two.pth')
    assert start_from(runner, tmp_path / 'two.pth', prefix='two', source_grid=[8, 8]).filled == 1
    torch.testing.assert_close(runner.model.backbone.cls_token.data, right['cls_token'])


def test_what_an_encoder_cannot_be_combined_with(scenes, tmp_path, monkeypatch):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run')
    cfg.load_from = 'whole.pth'
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match=r'encoder.pth fills the encoder, and load_from=whole.pth would overwrite it'):
        start_from(runner, tmp_path / 'encoder.pth')
    runner._load_from = None
    monkeypatch.setattr(pretrained, 'is_sharded', lambda model: True)
    with pytest.raises(ValueError, match=r'encoder.pth cannot fill a model whose parameters are split'):
        start_from(runner, tmp_path / 'encoder.pth')


def test_some_of_the_categories(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'run')
    set_up_transfer(cfg, classes=['truck', 'bird'])
    assert cfg.train_dataloader.dataset.metainfo.classes == ['bird', 'truck']  # in the order of the file
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    with pytest.raises(DatasetError, match='--classes dragon: no such category'):
        set_up_transfer(cfg, classes=['dragon'])


def test_data_described_in_the_config(scenes, tmp_path):
    """Categories, and a validation set elsewhere, in the lines that mmdet has for them; in a wrapper too."""
    other = tmp_path / 'other.json'
    cfg = Config.fromfile(DETECTION)
    for loader in ('train', 'val'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        dataset.data_root = str(scenes / 'coco')
        dataset.metainfo = dict(classes=('truck', 'bird'))
    other.write_text((scenes / 'coco' / cfg.val_dataloader.dataset.ann_file).read_text())
    cfg.val_dataloader.dataset.ann_file = str(other)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    set_up_transfer(cfg)
    assert cfg.train_dataloader.dataset.dataset.metainfo.classes == ['bird', 'truck']
    assert cfg.model.roi_head.mask_head.num_classes == 2
    assert cfg.val_evaluator.ann_file == str(other)
    cfg.val_dataloader.dataset.metainfo.classes = cfg.train_dataloader.dataset.dataset.metainfo.classes = ['dragon']
    with pytest.raises(DatasetError, match=r'metainfo\.classes dragon: no such category'):
        set_up_transfer(cfg)


def test_categories_that_differ_between_the_splits(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'run')
    content = json.loads(Path(cfg.val_dataloader.dataset.ann_file).read_text())
    content['categories'].reverse()
    other = tmp_path / 'val.json'
    other.write_text(json.dumps(content))
    cfg.val_dataloader.dataset.ann_file = str(other)
    with pytest.raises(DatasetError, match='differ, in their order: labels would not mean the same'):
        set_up_transfer(cfg)


def test_image_size(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'det')
    set_up_transfer(cfg, image_size=[96, 160])
    scales = [step.scale for step in cfg.train_dataloader.dataset.pipeline if step.type == 'Resize']
    assert scales == [(160, 96)]
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'seg')
    set_up_transfer(cfg, image_size=[64])
    assert (cfg.model.data_preprocessor.size, cfg.model.backbone.img_size) == ((64, 64), (64, 64))
    assert [step.crop_size for step in cfg.train_dataloader.dataset.pipeline if 'crop_size' in step] == [(64, 64)]
    with pytest.raises(ValueError, match='must be multiples of the patch size, 8'):
        set_up_transfer(cfg, image_size=[60])


def test_missing_data_ends_before_anything_is_built(tmp_path):
    with pytest.raises(DatasetError, match=r'/coco does not exist. Name yours with --data'):
        transfer_config(DETECTION, tmp_path, tmp_path / 'run')
    with pytest.raises(DatasetError, match=r'/cityscapes does not exist. Name yours with --data'):
        transfer_config(SEGMENTATION, tmp_path, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
