"""The configs of fine-tuning: what they promise, and a tiny run from a checkpoint."""

from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.datasets import RepeatAugSampler
from torch.utils.data import DataLoader, Dataset

from repre_mm.engine.initial_weights import start_from
from repre_mm.engine.launch import build_runner, set_data_root
from repre_mm.engine.resilience.replay import make_replayable

ROOT = Path(__file__).parents[2] / 'configs/finetune'
PATHS = sorted(path.name for path in ROOT.glob('*.py'))
DEIT, SWIN = 'vit-small-p16_8xb128-coslr-150e_in1k.py', 'swin-tiny_8xb128-coslr-100e_in1k.py'
FEW = 'vit-small-p16_1xb256-coslr-30e_in1k-10p.py'
VARIABLES = ('load', 'crop_and_flip', 'rand_augment', 'erasing', 'light_pipeline', 'mixing', 'smooth_loss')
TINY = {
    'vit': dict(arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48), patch_size=8),
    'swin': dict(arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2]), window_size=4, out_indices=(1,)),
}


def test_both_encoders_have_all_three():
    found = sorted(path.split('_')[0] for path in PATHS)
    assert found == ['swin-tiny'] * 3 + ['swin-tiny-scratch'] + ['vit-small-p16'] * 3
    shares = sorted(path.split('e_')[1] for path in PATHS if 'scratch' not in path)
    assert shares == sorted(['in1k.py', 'in1k-1p.py', 'in1k-10p.py'] * 2)


def test_deit_repeats_images_and_the_others_clip():
    for path in PATHS:
        cfg = Config.fromfile(ROOT / path)
        deit = path == DEIT
        sampler = dict(type='RepeatAugSampler', shuffle=True, num_repeats=3)
        assert cfg.train_dataloader.sampler == (sampler if deit else dict(type='DefaultSampler', shuffle=True)), path
        assert cfg.optim_wrapper.get('clip_grad') == (None if deit else dict(max_norm=5.0)), path


class Drawn(Dataset):
    """Each sample is its index and a number that was drawn for it."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return index, torch.rand(()).item()


def test_repeated_images_are_augmented_anew_and_resumed_exactly():
    def batches(start):
        dataset = Drawn()
        loader = DataLoader(dataset, batch_size=4, sampler=RepeatAugSampler(dataset, num_repeats=3, seed=5))
        make_replayable(loader, seed=1, rank=0)
        loader.batch_sampler.start = start
        return [[(int(i), float(x)) for i, x in zip(*batch, strict=True)] for batch in loader]

    first, second = batches(0)
    assert [first[0][0]] * 3 == [index for index, _ in first[:3]]
    assert len({draw for _, draw in first + second}) == 8
    assert batches(1) == [second]


def test_names_say_what_they_are():
    for path in PATHS:
        cfg = Config.fromfile(ROOT / path)
        gpus, batch = map(int, path.split('_')[1].split('-')[0].split('xb'))
        epochs = int(path.split('coslr-')[1].split('e_')[0])
        assert cfg.train_dataloader.batch_size == batch
        assert cfg.auto_scale_lr.base_batch_size == gpus * batch
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == epochs
        assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin < epochs
        share = {'in1k-1p.py': 0.01, 'in1k-10p.py': 0.1}.get(path.split('e_')[1])
        assert cfg.train_dataloader.dataset.get('share') == share
        steps = [
            step.type for step in (cfg.train_dataloader.dataset.get('dataset') or cfg.train_dataloader.dataset).pipeline
        ]
        assert ('RandAugment' in steps) == (cfg.model.train_cfg is not None) == (share is None)


@pytest.mark.parametrize('path', [FEW, SWIN])
def test_tiny_run_starts_from_the_checkpoint(path, tmp_path):
    cfg = Config.fromfile(ROOT / path)
    few = 'share' in cfg.train_dataloader.dataset
    backbone = TINY[path.split('-')[0]]
    cfg.model.backbone.update(img_size=32, **backbone)
    cfg.model.head.update(num_classes=2, in_channels=24 if path.startswith('vit') else 16, topk=1)
    cfg.data_preprocessor.num_classes = 2
    cfg.val_evaluator.topk = (1,)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        for step in (loader.dataset.get('dataset') or loader.dataset).pipeline:
            for key in {'scale', 'crop_size'} & set(step):
                step[key] = 32
    if few:
        cfg.train_dataloader.dataset.share = 0.5
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    for name in VARIABLES:  # the Runner lays the whole config out as text, which takes seconds
        cfg.pop(name)
    set_data_root(cfg, str(make_image_folder(tmp_path / 'images', train=16, val=4)))
    cfg.launcher, cfg.work_dir, cfg.experiment_name = 'none', str(tmp_path / 'run'), path

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        encoder = MODELS.build(cfg.model.backbone)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    state = {f'backbone.{key}': value for key, value in encoder.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'pretrained.pth')

    runner = build_runner(cfg)
    assert len(runner.build_dataloader(cfg.train_dataloader).dataset) == (8 if few else 16)
    report = start_from(runner, tmp_path / 'pretrained.pth')
    assert report.filled == 1
    before = {key: value.clone() for key, value in runner.model.backbone.state_dict().items()}
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(before[key], value, rtol=0, atol=0)
    runner.train()
    assert 0 <= runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100
    moved = [key for key, value in runner.model.backbone.state_dict().items() if not torch.equal(value, before[key])]
    assert len(moved) > len(before) / 2
