"""Target networks in real Runs: the authors' order, gradient accumulation, resuming, starting from weights."""

import copy
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fixtures.models import MEAN, STD, VIT, make_views, mlp, mocov3
from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn

from repre_mm.engine import MomentumUpdateHook
from repre_mm.engine.hooks.momentum import take_over_averages
from repre_mm.models.selfsup.ema import CosineEMA

BATCHES = 5
ENCODER = dict(VIT, arch=dict(VIT['arch'], num_layers=2))


def method(name: str) -> dict:
    """Three methods of mmpretrain with a target network, each with a fast one."""
    common = dict(backbone=copy.deepcopy(ENCODER), data_preprocessor=dict(mean=MEAN, std=STD))
    if name == 'MoCoV3':
        return dict(mocov3(ENCODER), base_momentum=0.3)
    if name == 'BYOL':
        head = dict(
            type='LatentPredictHead',
            predictor=mlp(16, 2, with_avg_pool=False),
            loss=dict(type='CosineSimilarityLoss'),
        )
        return dict(type='BYOL', base_momentum=0.3, neck=mlp(32, 2, with_avg_pool=False), head=head, **common)
    head = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2)
    neck = mlp(32, 2, with_avg_pool=False)
    return dict(type='MoCo', momentum=0.3, queue_len=8, feat_dim=16, neck=neck, head=head, **common)


def target_of(model: nn.Module) -> tuple[str, nn.Module]:
    (found,) = [(n, m) for n, m in model.named_modules() if isinstance(m, (ExponentialMovingAverage, CosineEMA))]
    return found


def batches() -> list[dict]:
    torch.manual_seed(7)
    return [dict(inputs=make_views(32), data_samples=None) for _ in range(BATCHES)]


def runner(work_dir: Path, cfg: dict, epochs: int = 1, accumulate: int = 1, hooks: tuple = (), **kwargs) -> Runner:
    torch.manual_seed(3)
    model = MODELS.build(cfg)
    model.init_weights()
    model.init_weights = lambda: None  # the Runner would draw other weights
    data = torch.utils.data.DataLoader(batches(), batch_size=None, shuffle=False)
    return Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=data,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05), accumulative_counts=accumulate),
        custom_hooks=[dict(type='repre_mm.MomentumUpdateHook'), *hooks],
        default_hooks=dict(sampler_seed=None),
        experiment_name=work_dir.name,
        default_scope='mmpretrain',
        **kwargs,
    )


class AuthorsOrder(nn.Module):
    """The target moves at the start of the first forward after each optimizer step: in the authors' words."""

    def __init__(self, module, steps, momentum, end, accumulate):
        super().__init__()
        self.module = copy.deepcopy(module)
        self.steps, self.momentum, self.end, self.accumulate = steps, momentum, end, accumulate
        self.forwards = 0

    def forward(self, x):
        return self.module(x)

    def update_parameters(self, online):
        k, micro = divmod(self.forwards, self.accumulate)
        self.forwards += 1
        if micro == 0:
            m = 1 - (self.end + (self.momentum - self.end) * (1 + math.cos(math.pi * k / self.steps)) / 2)
            for target, source in zip(self.module.parameters(), online.parameters(), strict=True):
                target.data = target.data * m + source.data * (1 - m)


@pytest.mark.parametrize(('name', 'accumulate'), [('MoCoV3', 1), ('BYOL', 2), ('MoCo', 2)])
def test_a_run_equals_the_authors_order(tmp_path, name, accumulate):
    run = runner(tmp_path, method(name), epochs=2, accumulate=accumulate)
    run.model.double()  # ten steps with BatchNorm over four images amplify fp32's last bit to 1e-3
    plain = copy.deepcopy(run.model)
    attribute, _ = target_of(plain)
    online = nn.Sequential(plain.backbone, plain.neck)
    updates = 2 * BATCHES // accumulate
    setattr(plain, attribute, AuthorsOrder(online, updates, 0.3, 0.3 if name == 'MoCo' else 0.0, accumulate))
    plain.train()
    torch.manual_seed(5)  # MoCo shuffles its keys
    run.train()

    optimizer = torch.optim.SGD([p for p in plain.parameters() if p.requires_grad], lr=0.05)
    torch.manual_seed(5)
    for i, batch in enumerate(batches() * 2):
        inputs = plain.data_preprocessor(copy.deepcopy(batch), True)['inputs']
        (plain.loss(inputs, None)['loss'] / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    close = partial(torch.testing.assert_close, rtol=1e-7, atol=1e-8)
    for key, value in plain.backbone.named_parameters():
        close(run.model.backbone.get_parameter(key), value, msg=lambda text, key=key: f'{key}: {text}')
    # Ours has moved after the last step too; let the authors' begin the forward that would come next.
    authors = getattr(plain, attribute)
    authors.update_parameters(online)
    _, ours = target_of(run.model)
    assert ours.steps.item() == updates
    for key, value in authors.module.named_parameters():
        close(ours.module.get_parameter(key), value, msg=lambda text, key=key: f'{key}: {text}')


def test_schedule_counts_optimizer_steps_with_a_remainder(tmp_path):
    """5 forwards, 2 per step: steps after the 2nd, the 4th and the 5th."""
    run = runner(tmp_path, method('MoCoV3'), accumulate=2)
    run.train()
    assert run.model.momentum_encoder.max_steps == 3
    assert run.model.momentum_encoder.steps.item() == 3


class StopAfterEpoch(Hook):
    """Break off a run as a fault would, after the checkpoint of epoch 1."""

    priority = 'LOWEST'

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            raise KeyboardInterrupt


def test_resume_goes_on_with_target_and_schedule(tmp_path):
    whole = runner(tmp_path / 'whole', method('BYOL'), epochs=2)
    whole.train()
    broken = runner(tmp_path / 'broken', method('BYOL'), epochs=2, hooks=(StopAfterEpoch(),))
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    assert broken.model.target_net.steps.item() == BATCHES
    resumed = runner(tmp_path / 'broken', method('BYOL'), epochs=2, resume=True)
    resumed.train()
    assert resumed.model.target_net.steps.item() == 2 * BATCHES
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key


class KeepFirstCount(Hook):
    """Remember how far the schedule is after the first step of a run."""

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        if batch_idx == 0:
            self.steps = runner.model.momentum_encoder.steps.item()


def test_load_from_starts_the_schedule_anew_with_equal_networks(tmp_path):
    first = runner(tmp_path / 'first', method('MoCoV3'))
    first.train()
    checkpoint = tmp_path / 'first' / 'epoch_1.pth'
    seen = KeepFirstCount()
    second = runner(tmp_path / 'second', method('MoCoV3'), hooks=(seen,), load_from=str(checkpoint))
    starts = []
    update = CosineEMA.update_parameters

    def watch(ema, online):
        update(ema, online)
        pairs = zip(ema.module.parameters(), online.parameters(), strict=True)
        starts.append(all(torch.equal(a, b) for a, b in pairs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CosineEMA, 'update_parameters', watch)
        second.train()
    assert starts == [True] + [False] * (BATCHES - 1)
    assert seen.steps == 1  # after the first step, not 6
    assert second.model.momentum_encoder.steps.item() == BATCHES


def test_the_same_tensors_under_the_same_keys():
    model = MODELS.build(method('MoCoV3'))
    before = model.state_dict(keep_vars=True)
    take_over_averages(model)
    after = model.state_dict(keep_vars=True)
    assert list(before) == list(after)
    assert all(before[key] is after[key] for key in before)
    assert type(model.momentum_encoder) is CosineEMA


def test_a_wrapped_average_is_found():
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=method('MoCoV3'), neck=dict(num_levels=2)))
    take_over_averages(nn.ModuleDict(dict(module=model)))
    assert type(model.algorithm.momentum_encoder) is CosineEMA


def test_unknown_settings_of_an_average_are_refused():
    model = nn.ModuleDict(dict(target=ExponentialMovingAverage(nn.Linear(2, 2), 0.1, interval=3)))
    with pytest.raises(ValueError, match='target: a moving average with interval=3 and update_buffers=False'):
        take_over_averages(model)


def test_a_model_without_a_target_is_left_alone():
    model = nn.Linear(2, 2)
    optim_wrapper = SimpleNamespace(_accumulative_counts=1, should_update=lambda: True)
    hook, run = MomentumUpdateHook(), SimpleNamespace(model=model, max_iters=3, iter=0, optim_wrapper=optim_wrapper)
    hook.before_train(run)
    before = model.weight.clone()
    hook.after_train_iter(run, 0, {}, {})
    assert torch.equal(model.weight, before)
