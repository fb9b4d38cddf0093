"""MoCo v2 against mmpretrain's."""

import torch
from fixtures.models import MEAN, STD, VIT, make_views
from mmpretrain.registry import MODELS
from torch import Tensor, nn


def build(name: str, queue_len: int) -> nn.Module:
    torch.manual_seed(0)
    cfg = dict(
        type=name,
        backbone=VIT,
        neck=dict(type='MoCoV2Neck', in_channels=32, hid_channels=32, out_channels=16, with_avg_pool=False),
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2),
        queue_len=queue_len,
        feat_dim=16,
        data_preprocessor=dict(mean=MEAN, std=STD),
    )
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def queue_after(model: nn.Module, batches: list[int]) -> tuple[list[Tensor], Tensor, Tensor]:
    torch.manual_seed(1)
    losses = [model(make_views(32, batch=batch), None, mode='loss')['loss'] for batch in batches]
    return losses, model.queue, model.queue_ptr


def test_equals_mmpretrain_where_the_batch_divides_the_queue():
    ours, theirs = (queue_after(build(name, 12), [4] * 4) for name in ('repre_mm.MoCo', 'mmpretrain.MoCo'))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
