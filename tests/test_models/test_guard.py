"""Set-ups under mmengine's own Runner: what lacks a hook or a setting is refused before the first update."""

from pathlib import Path

import pytest
import torch
from fixtures.methods import tiny_method, views_for
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

from repre_mm.models.guard import before_first_update

MOMENTUM, DINO = dict(type='repre_mm.MomentumUpdateHook'), dict(type='repre_mm.DINOHook')
NO_DECAY = dict(custom_keys={'loss_weighting': dict(decay_mult=0.0)})


@DATASETS.register_module()
class ThreeBatches(list):
    def __init__(self, method: str) -> None:
        batches = [zip(*views_for(method, 'vit'), strict=True) for _ in range(3)]
        super().__init__(dict(inputs=list(views), data_samples=DataSample()) for batch in batches for views in batch)


def runner(method: str, work_dir: Path, hooks: tuple = (), paramwise_cfg: dict | None = NO_DECAY) -> Runner:
    config = dict(
        model=tiny_method(method, 'vit', repre=True),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type='ThreeBatches', method=method),
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_size=4,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1), paramwise_cfg=paramwise_cfg),
        custom_hooks=list(hooks),
        default_scope='mmpretrain',
        experiment_name=work_dir.parent.name,
    )

    return Runner.from_cfg(Config(config))


@pytest.mark.parametrize(
    ('method', 'options', 'message'),
    [
        ('moby', {}, r"nothing updates the target network.*add dict\(type='repre_mm.MomentumUpdateHook'\)"),
        ('dino', {}, 'MomentumUpdateHook'),
        ('dino', dict(hooks=(MOMENTUM,)), r"add dict\(type='repre_mm.DINOHook'\)"),
        ('mocov3', dict(paramwise_cfg=None), r"weight decay 0\.1.*custom_keys=\{'loss_weighting': dict\(decay_mult=0"),
    ],
)
def test_what_is_missing_is_refused_before_the_first_update(method, options, message, tmp_path):
    run = runner(method, tmp_path / 'run', **options)
    run.model.init_weights()
    run.model.init_weights = lambda: None
    before = {name: parameter.clone() for name, parameter in run.model.named_parameters()}
    target = 'momentum_encoder.', 'algorithm.momentum_encoder.'  # the first forward copies it
    with pytest.raises((RuntimeError, ValueError), match=message):
        run.train()
    for name, parameter in run.model.named_parameters():
        if not name.startswith((*target, 'loss_weighting.')):
            assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ('method', 'hooks'),
    [('moby', (MOMENTUM,)), ('dino', (MOMENTUM, DINO)), ('mocov3', (MOMENTUM,)), ('mocov3', ()), ('simclr', ())],
)
def test_what_is_right_trains(method, hooks, tmp_path):
    run = runner(method, tmp_path / 'run', hooks)
    run.train()
    assert run.iter == 3
    losses = run.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 3 and torch.tensor(losses).isfinite().all()
    if method != 'simclr':  # a target network that moved on from its start, and is not the online one
        online, target = (dict(part.named_parameters()) for part in (run.model.backbone, target_encoder(run.model)))
        moved = [name for name in online if not torch.equal(online[name], target[name])]
        assert len(moved) > len(online) / 2
        assert run.model.momentum_encoder.steps == 3


def target_encoder(model: nn.Module) -> nn.Module:
    return model.momentum_encoder.module[0]


def test_asks_until_an_optimizer_is_accepted_and_never_after():
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    asked = []

    def check(owner: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        asked.append(optimizer)
        return optimizer.param_groups[0]['params'][0] is owner.weight

    before_first_update(module, check)
    others, own = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (other, module))
    for optimizer in (others, own, own, others):
        optimizer.step()
    assert asked == [others, own]
    before_first_update(nn.Linear(2, 2), lambda *_: pytest.fail('its module is gone'))
    own.step()
