"""Descriptions of checkpoint files; tests/test_checkpoint/test_checkpoint_tools.py has that of a release, in full."""

import pytest
import torch
from fixtures.encoders import mm_swin

from repre_mm.checkpoint import CheckpointError, inspect_checkpoint


def test_a_training_checkpoint(tmp_path):
    swin = mm_swin()
    state = {f'{place}{name}': v for place in ('backbone.', 'encoder_k.') for name, v in swin.state_dict().items()}
    meta = {'epoch': 3, 'experiment_name': 'run', 'cfg': "model = dict(type='repre_mm.MoBY')"}
    torch.save({'state_dict': state, 'meta': meta, 'epoch': 3}, tmp_path / 'epoch_3.pth')
    facts = inspect_checkpoint(tmp_path / 'epoch_3.pth')
    expected = {
        'is': 'OpenMMLab checkpoint, the online encoder',
        'encoder at': 'state_dict.backbone.',
        'others at': 'state_dict.encoder_k.',
        'architecture': 'embed_dims 8, depths [2, 2, 1], num_heads [1, 2, 4], window_size 4, patch_size 4',
        'method': 'repre_mm.MoBY',
        'experiment': 'run',
        'epoch': 3,
    }
    assert {title: facts[title] for title in expected} == expected


def test_unknown_names_are_refused_with_the_path(tmp_path):
    torch.save({'w': torch.ones(2)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'cannot use {tmp_path}/a.pth: it holds no known encoder'):
        inspect_checkpoint(tmp_path / 'a.pth')
