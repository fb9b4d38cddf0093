"""repre_mm.SimCLR against mmpretrain's in one process; tests/test_engine/test_distributed_gradients.py has two."""

import pytest
import torch
from fixtures.models import MEAN, STD, VIT, make_views, mlp
from mmpretrain.registry import MODELS
from torch import nn


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    cfg = dict(
        type=name,
        backbone=VIT,
        neck=mlp(32, 2, with_avg_pool=False),
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.1),
        data_preprocessor=dict(mean=MEAN, std=STD),
    )
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.mark.parametrize('batch', [2, 5])
def test_equals_mmpretrain_in_one_process(batch):
    ours, theirs = build('repre_mm.SimCLR'), build('mmpretrain.SimCLR')
    views = make_views(32, batch=batch)
    losses = [model(views, None, mode='loss')['loss'] for model in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    # BatchNorm amplifies rounding: an untrained encoder's outputs hardly differ.
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_positive_and_negatives_are_the_right_pairs(monkeypatch):
    """The formula of Algorithm 1, view by view, on embeddings that are given."""
    model = build('repre_mm.SimCLR')
    embedded = torch.randn(6, 16)
    monkeypatch.setattr(model, 'neck', nn.Module())
    model.neck.forward = lambda _: (embedded,)
    units = embedded / embedded.norm(dim=1, keepdim=True)
    terms = []
    for i in range(6):
        j = i + 1 if i % 2 == 0 else i - 1
        scores = [torch.exp(units[i] @ units[k] / 0.1) for k in range(6)]
        terms.append(-torch.log(scores[j] / sum(scores[k] for k in range(6) if k != i)))
    loss = model(make_views(32, batch=3), None, mode='loss')['loss']
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=1e-5, atol=1e-5)


def test_bad_input():
    model = build('repre_mm.SimCLR')
    with pytest.raises(ValueError, match=r'no negatives in a batch of one image: set train_dataloader\.batch_size'):
        model(make_views(32, batch=1), None, mode='loss')
    with pytest.raises(ValueError, match='compares two views per image, got 3: set num_views'):
        model(make_views(32, batch=2, views=3), None, mode='loss')
