"""Published settings, and schedules against the authors' schedulers."""

import pytest
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler

from repre_mm.evaluation.linear_protocols import PROTOCOLS, lr_factor


def test_published_settings():
    mocov3, dino, moby = (PROTOCOLS[name] for name in ('mocov3', 'dino', 'moby'))
    assert (mocov3.epochs, dino.epochs, moby.epochs) == (90, 100, 100)
    # The rates that the published commands end up with, at their batches of 1024, 1024 and 512.
    for protocol, published in ((mocov3, 12.0), (dino, 0.004), (moby, 1.0)):
        assert published in [lr * protocol.batch_size / protocol.lr_batch for lr in protocol.lrs]


def test_moby_schedule_is_that_of_its_scheduler():
    """lr_scheduler.py 20 to 29 of SwinTransformer/Transformer-SSL, called as moby_linear.py 243 to 245 does."""
    steps, epochs = 7, 40
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=epochs * steps, lr_min=5e-6, warmup_lr_init=5e-7, warmup_t=2 * steps, t_in_epochs=False
    )
    for number in range(epochs * steps):
        ours = lr_factor(PROTOCOLS['moby'], *divmod(number, steps), steps, epochs)
        assert ours == pytest.approx(optimizer.param_groups[0]['lr'], rel=1e-6)
        optimizer.step()
        scheduler.step_update(number)


@pytest.mark.parametrize('name', ['mocov3', 'dino'])
def test_other_schedules_are_cosine_annealing_per_epoch(name):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0)
    for epoch in range(20):
        for step in range(3):
            assert lr_factor(PROTOCOLS[name], epoch, step, 3, 20) == pytest.approx(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
