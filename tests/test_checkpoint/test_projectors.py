"""Projectors rebuilt from released layouts; their outputs are compared with the authors' in test_releases.py."""

import pytest
import torch
from fixtures import released
from torch import nn

from repre_mm.checkpoint import CheckpointError, projector

KINDS = {
    'DINO ViT-S/16': [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear],
    'iBOT ViT-S': [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear],
    'MoCo v3 ViT-S': [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.BatchNorm1d],
    'MoBY Swin-T': [nn.Identity, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear],
}


@pytest.mark.parametrize('name', KINDS)
def test_layers(name):
    checkpoint = released.released_file(name)
    default, online, target = (projector(checkpoint, which) for which in (None, 'online', 'target'))
    assert [type(layer) for layer in default] == KINDS[name]
    assert not default.training
    first = next(i for i, layer in enumerate(default) if isinstance(layer, nn.Linear))
    assert not torch.equal(online[first].weight, target[first].weight)
    assert torch.equal(default[first].weight, (target if name.startswith(('DINO', 'iBOT')) else online)[first].weight)
    assert default(torch.randn(2, default[first].in_features)).shape == (2, 256)


def test_files_without_one_say_so():
    with pytest.raises(CheckpointError, match=r'no projector of the target encoder \(teacher\.head\.mlp\.\*\)'):
        projector(released.released_file('DINO ViT-S/16 alone'))
    with pytest.raises(CheckpointError, match='a file of DeiT, and projectors are read from files of MoCo v3, DINO'):
        projector(released.meta_file('DeiT-S'))
    with pytest.raises(CheckpointError, match='no known release'):
        projector({'w': torch.ones(1)})
