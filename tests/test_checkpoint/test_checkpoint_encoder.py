"""Filling encoders of another size; tests/test_checkpoint/test_recognise.py fills them from files of every kind."""

import pytest
import torch
from fixtures.encoders import filled, mm_vit
from mmengine.config import Config

from repre_mm.checkpoint import CheckpointError, build_encoder, load_pretrained


def test_a_config_without_an_encoder_is_refused():
    with pytest.raises(CheckpointError, match=r'neither model\.backbone nor model\.algorithm\.backbone'):
        build_encoder(Config({'model': {'neck': {}}}))


def test_other_width_is_refused_with_the_shapes(tmp_path):
    torch.save(mm_vit(arch=dict(embed_dims=48)).state_dict(), tmp_path / 'wide.pth')
    with pytest.raises(CheckpointError, match='of another kind or size') as caught:
        load_pretrained(mm_vit(), tmp_path / 'wide.pth')
    assert '[1, 1, 48] -> [1, 1, 24]' in str(caught.value)


def test_other_image_size_is_resized_and_said(tmp_path):
    trained, fresh = mm_vit(), filled(mm_vit(img_size=(48, 64)), seed=1)
    torch.save(trained.state_dict(), tmp_path / 'epoch_1.pth')
    report = load_pretrained(fresh, tmp_path / 'epoch_1.pth')
    assert (report.complete, report.resized) == (True, {'pos_embed': ((1, 17, 24), (1, 49, 24))})
    assert 'pos_embed [1, 17, 24] -> [1, 49, 24]' in report.table()
    # The class token's position has no grid: it comes over unchanged.
    torch.testing.assert_close(fresh.pos_embed[:, 0], trained.pos_embed[:, 0], rtol=0, atol=0)
