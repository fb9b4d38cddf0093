"""Another batch, length or encoder takes along all that depends on it."""

from pathlib import Path

import pytest
from fixtures.data import make_image_folder
from mmengine.config import Config

from repre_mm.engine.adapt import set_batch_size, set_encoder, set_length
from repre_mm.engine.checks import config_faults
from repre_mm.engine.checks.schedule import schedule_faults, warmup_faults
from repre_mm.utils.errors import UserError

ROOT = Path(__file__).parents[2]
TOY = ROOT / 'configs/toy'


def read(name: str, root: Path | str = 'none', **options) -> Config:
    cfg = Config.fromfile(TOY / f'{name}_vit-tiny_toy.py')
    cfg.merge_from_dict({'train_dataloader.dataset.root': str(root), **options})
    return cfg


@pytest.fixture
def images(tmp_path):
    return make_image_folder(tmp_path / 'images', train=80)


@pytest.mark.parametrize('epochs', [1, 6, 200])
@pytest.mark.parametrize('name', ['mocov3', 'dino', 'repre_moby'])
def test_epochs(name, epochs, images):
    cfg = read(name, images, **{'train_dataloader.batch_size': 2})
    set_length(cfg, epochs)
    assert list(schedule_faults(cfg)) == list(warmup_faults(cfg)) == []
    warmup, cosine = cfg.param_scheduler[:2]
    assert cfg.train_cfg.max_epochs == cosine.end == epochs
    assert warmup.end == pytest.approx(epochs * 2 / 22)
    assert cosine.begin == warmup.end
    assert cfg.default_hooks.checkpoint.interval == max(round(epochs / 22), 1)


def test_a_target_network_follows_as_fast_by_the_length_of_the_training(images):
    cfg = read('mocov3', images)
    set_length(cfg, 220)
    assert 1 - cfg.model.base_momentum == pytest.approx(0.7**0.1)
    set_length(cfg, 2)
    assert cfg.model.base_momentum == 0.5


def test_a_warmup_of_one_step_is_left_out(images):
    cfg = read('mocov3', images)  # one step an epoch
    set_length(cfg, 6)
    (cosine,) = cfg.param_scheduler
    assert (cosine.type, cosine.begin, cosine.end) == ('CosineAnnealingLR', 0, 6)
    assert list(warmup_faults(cfg)) == []


def test_epochs_of_a_detector(images):
    cfg = read('mocov3', images, **{'train_dataloader.batch_size': 2})
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1000),
        dict(type='MultiStepLR', by_epoch=True, begin=0, end=22, milestones=[14, 20], gamma=0.1),
    ]
    set_length(cfg, 11)
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, steps.end, steps.milestones) == (44, 11, [7, 10])
    cfg.train_dataloader.batch_size = 64
    set_length(cfg, 11)  # steps, of which a tenth is too short
    assert [each.type for each in cfg.param_scheduler] == ['MultiStepLR']
    cfg.train_cfg = dict(max_iters=10)
    with pytest.raises(UserError, match='this training counts iterations'):
        set_length(cfg, 3)


def test_batch_size(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    name = 'simsiam/simsiam_vit-small-p16_8xb128-amp-coslr-300e_in1k.py'
    cfg = Config.fromfile(ROOT / 'configs/pretrain' / name)
    before = cfg.optim_wrapper.optimizer.lr / cfg.train_dataloader.batch_size
    set_batch_size(cfg, 512)
    assert cfg.train_dataloader.batch_size == 128
    assert cfg.optim_wrapper.optimizer.lr == cfg.default_hooks.predictor_lr.lr == pytest.approx(512 * before)
    own = cfg.optim_wrapper.paramwise_cfg.custom_keys.loss_weighting
    assert cfg.optim_wrapper.optimizer.lr * own.lr_mult == pytest.approx(0.02)
    with pytest.raises(UserError, match='4 processes cannot share it evenly; choose a multiple of 4'):
        set_batch_size(cfg, 130)


def test_batch_size_of_a_config_that_states_its_base():
    name = 'mocov3/mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'
    cfg = Config.fromfile(ROOT / 'configs/pretrain' / name)
    set_batch_size(cfg, 1024)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1.5e-4 * 4)
    assert cfg.auto_scale_lr == dict(base_batch_size=1024, enable=False)
    assert 1 - cfg.model.base_momentum == pytest.approx(0.99**0.25)


@pytest.mark.parametrize(('batch', 'queue'), [(96, 1056), (4096, 4096)])
def test_a_queue_is_a_multiple_of_the_batch(batch, queue):
    cfg = read('mocov2')
    set_batch_size(cfg, batch)
    assert cfg.model.queue_len == queue


def test_a_recipe(images):
    recipe = dict(images_seen=16_000, steps=1500)
    cfg = read('repre_mocov3', images, recipe=recipe, **{'train_dataloader.batch_size': 16})
    set_length(cfg)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == 200  # of 5 steps
    assert cfg.param_scheduler[0].end == pytest.approx(200 * 2 / 22)
    assert 1 - cfg.model.algorithm.base_momentum == pytest.approx(0.7**1.5)
    assert 'recipe' not in cfg
    assert list(schedule_faults(cfg)) == list(warmup_faults(cfg)) == []


def test_options_override_a_recipe(images):
    cfg = read('mocov3', images, recipe=dict(images_seen=16_000, steps=300))
    set_batch_size(cfg, 20)
    set_length(cfg, 50)  # of 4 steps
    assert cfg.train_cfg.max_epochs == 50
    assert 1 - cfg.model.base_momentum == pytest.approx(0.7**1.5)


@pytest.mark.parametrize('model', ['vit_tiny_patch16_224,depth=4,patch_size=8', 'resnet18'])
@pytest.mark.parametrize('name', ['repre_mocov3', 'repre_dino', 'simclr'])
def test_an_encoder_of_timm(name, model):
    cfg = read(name)
    set_encoder(cfg, f'timm:{model}')
    assert config_faults(cfg) == []
    method = cfg.model.get('algorithm') or cfg.model
    assert method.neck.in_channels == {'v': 192, 'r': 512}[model[0]]
