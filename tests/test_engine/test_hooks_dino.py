"""DINO's schedules against its authors' and its hooks in a real Runner."""

import argparse
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.models import MEAN, STD
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch import nn

from repre_mm.cli.config import load_config
from repre_mm.engine import ClipGradPerParameterHook, DINOHook
from repre_mm.engine.launch import build_runner
from repre_mm.models.selfsup.dino import DINOHead

CONFIG = Path(__file__).parents[1] / 'fixtures/tiny_config.py'

# facebookresearch/dino, commit 7c446df5b9f45747937fb0d72314eb9f7b66930a, 4 epochs of 3 iterations:
# utils.cosine_scheduler(5e-4, 1e-6, 4, 3, warmup_epochs=2) and utils.cosine_scheduler(0.04, 0.4, 4, 3).
LEARNING_RATES = [0.0, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 5e-4, 4.665733382e-4, 3.7525e-4, 2.505e-4, 1.2575e-4]
LEARNING_RATES += [3.442666176e-05]
WEIGHT_DECAYS = [0.04, 0.04613335127, 0.06411542732, 0.09272077939, 0.13, 0.1734125719, 0.22, 0.2665874281, 0.31]
WEIGHT_DECAYS += [0.3472792206, 0.3758845727, 0.3938666487]
# main_dino.DINOLoss(4, 4, 0.04, 0.07, W, 6).teacher_temp_schedule for W = 0, 1, 3.
TEACHER_TEMPS = {0: [0.07] * 6, 1: [0.04] + [0.07] * 5, 3: [0.04, 0.055, 0.07, 0.07, 0.07, 0.07]}

# What a config of DINO says.
PARAM_SCHEDULER = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=2, end=4, convert_to_iter_based=True),
    dict(
        type='mmpretrain.CosineAnnealingWeightDecay',
        eta_min=0.4,
        by_epoch=True,
        begin=0,
        end=4,
        convert_to_iter_based=True,
    ),
]
PARAMWISE = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)


@pytest.mark.parametrize('epochs', TEACHER_TEMPS)
def test_teacher_temperature(epochs):
    head = DINOHead(4, teacher_temp=0.07, warmup_teacher_temp=0.04, warmup_teacher_temp_epochs=epochs)
    assert [head.teacher_temp_at(epoch) for epoch in range(6)] == pytest.approx(TEACHER_TEMPS[epochs])


def test_learning_rate_and_weight_decay_per_iteration():
    """Also over a checkpoint in the middle. Biases and norms are never decayed."""

    def start() -> tuple:
        model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        optimizer = dict(type='AdamW', lr=5e-4, weight_decay=0.04)
        optim_wrapper = build_optim_wrapper(model, dict(optimizer=optimizer, paramwise_cfg=PARAMWISE))
        args = dict(optimizer=optim_wrapper, epoch_length=3)
        return model, optim_wrapper, [PARAM_SCHEDULERS.build(cfg, default_args=args) for cfg in PARAM_SCHEDULER]

    model, optim_wrapper, schedulers = start()
    rates, decays = [], []
    for iteration in range(12):
        weight, *others = optim_wrapper.optimizer.param_groups
        assert weight['params'] == [model[0].weight]
        rates.append(weight['lr'])
        decays.append(weight['weight_decay'])
        assert [group['weight_decay'] for group in others] == [0, 0, 0]
        optim_wrapper.update_params(model(torch.randn(2, 4)).square().sum())
        for scheduler in schedulers:
            scheduler.step()
        if iteration == 7:
            saved = optim_wrapper.state_dict(), [scheduler.state_dict() for scheduler in schedulers]
            model, optim_wrapper, schedulers = start()
            optim_wrapper.load_state_dict(saved[0])
            for scheduler, state in zip(schedulers, saved[1], strict=True):
                scheduler.load_state_dict(state)
    assert rates == pytest.approx(LEARNING_RATES, abs=1e-9)
    assert decays == pytest.approx(WEIGHT_DECAYS, abs=1e-9)


def test_each_gradient_is_clipped_by_its_own_norm():
    parameters = [nn.Parameter(torch.zeros(4)) for _ in range(4)]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    hook = ClipGradPerParameterHook(max_norm=3.0)
    hook.before_train(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=optimizer)))
    gradients = [torch.tensor([3.0, 4.0, 0, 0]), torch.full((4,), 0.5), torch.zeros(4)]
    for parameter, gradient in zip(parameters, gradients, strict=False):
        parameter.grad = gradient.clone()
    optimizer.step()
    expected = [gradients[0] * 3 / 5, gradients[1], gradients[2], torch.zeros(4)]
    for parameter, moved in zip(parameters, expected, strict=True):
        torch.testing.assert_close(-parameter.detach(), moved)
    hook.after_train(None)
    parameters[0].grad = gradients[0].clone()
    optimizer.step()
    torch.testing.assert_close(-parameters[0].detach(), expected[0] + gradients[0])


def test_wrong_set_ups_of_the_hooks_are_named():
    with pytest.raises(ValueError, match='max_norm=0 must be positive'):
        ClipGradPerParameterHook(max_norm=0)
    fused = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True)
    wrapper = SimpleNamespace(optimizer=fused, loss_scaler=None)  # an AmpOptimWrapper needs a GPU
    with pytest.raises(ValueError, match=r'fp16 loss scale: set optim_wrapper.optimizer.fused=False'):
        ClipGradPerParameterHook().before_train(SimpleNamespace(optim_wrapper=wrapper))
    with pytest.raises(ValueError, match=r'found no repre_mm\.DINO in the model'):
        DINOHook().before_train(SimpleNamespace(model=nn.Linear(2, 2)))


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp('images'))


def run(images: Path, work_dir: Path, epochs: int = 2, resume: bool = False, **optim) -> Runner:
    """Two iterations per epoch of RePre on DINO with two local crops."""
    args = argparse.Namespace(
        config=str(CONFIG), work_dir=str(work_dir), data=str(images), amp=False, launcher='none', cfg_options=None
    )
    cfg = load_config(args)
    cfg.experiment_name = f'{work_dir.name}_{epochs}'
    cfg.resume = resume

    def view(size: int) -> list[dict]:
        return [dict(type='RandomResizedCrop', scale=size, backend='pillow')]

    views = dict(type='MultiView', num_views=[1, 1, 2], transforms=[view(32), view(32), view(16)])
    cfg.train_dataloader.dataset.pipeline[1] = views
    arch = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)
    cfg.model.algorithm = ConfigDict(
        type='repre_mm.DINO',
        backbone=dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8),
        neck=dict(in_channels=16, hid_channels=16, bottleneck_channels=8, out_channels=16),
        head=dict(teacher_temp=0.07, warmup_teacher_temp_epochs=2),
        data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=True),
    )
    cfg.optim_wrapper.update(optim)
    cfg.optim_wrapper.paramwise_cfg.update(PARAMWISE)
    cfg.optim_wrapper.optimizer.weight_decay = 0.04
    cfg.param_scheduler = PARAM_SCHEDULER
    cfg.train_cfg.max_epochs = epochs
    cfg.default_hooks.update(
        knn=None,
        reconstruction=None,
        dino=dict(type='repre_mm.DINOHook', freeze_last_layer=1),
        clip=dict(type='repre_mm.ClipGradPerParameterHook', max_norm=3.0),
    )
    runner = build_runner(cfg)
    runner.train()
    return runner


def test_last_layer_is_frozen_in_the_first_epoch_only(images, tmp_path):
    runner = run(images, tmp_path, accumulative_counts=2)
    first, second = (torch.load(tmp_path / f'epoch_{i}.pth', weights_only=False)['state_dict'] for i in (1, 2))
    weight = 'neck.last_layer.parametrizations.weight.original1'
    # A teacher that follows a student that does not move stays where both were.
    torch.testing.assert_close(first[weight], first[f'momentum_encoder.module.1{weight[4:]}'], rtol=0, atol=1e-7)
    assert not torch.equal(second[weight], first[weight])
    assert not torch.equal(first['neck.mlp.0.weight'], first['momentum_encoder.module.1.mlp.0.weight'])
    assert runner.model.algorithm.epoch == 1
    assert first['momentum_encoder.steps'] == 1
    assert not torch.equal(first['head.center'], second['head.center'])
    group = next(g for g in runner.optim_wrapper.param_groups if g['params'][0] is runner.model.backbone.cls_token)
    assert group['weight_decay'] > 0.04
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_resuming_knows_the_epoch(images, tmp_path, monkeypatch):
    run(images, tmp_path, epochs=1)
    epochs = []
    loss = DINOHead.loss

    def spy(self, student, teacher, epoch):
        epochs.append((epoch, self.teacher_temp_at(epoch)))
        return loss(self, student, teacher, epoch)

    monkeypatch.setattr(DINOHead, 'loss', spy)
    run(images, tmp_path, epochs=2, resume=True)
    assert epochs == [(1, 0.07), (1, 0.07)]
