"""The report of how a checkpoint filled an encoder."""

import pytest
import torch
from fixtures.encoders import filled, mm_vit

from repre_mm.checkpoint import load_pretrained


def test_partial_fit_is_reported(tmp_path):
    trained, fresh = mm_vit(), filled(mm_vit(), seed=1)
    state = {f'backbone.{key}': value for key, value in trained.state_dict().items()}
    state['backbone.extra'] = torch.ones(3)
    del state['backbone.cls_token']
    state['backbone.layers.0.ln1.weight'] = torch.ones(7)
    torch.save({'state_dict': state}, tmp_path / 'odd.pth')
    kept = {key: fresh.state_dict()[key].clone() for key in ('cls_token', 'layers.0.ln1.weight')}
    report = load_pretrained(fresh, tmp_path / 'odd.pth')
    assert report.missing == ('cls_token',)
    assert report.unexpected == ('extra',)
    assert report.mismatched == {'layers.0.ln1.weight': ((7,), (24,))}
    assert not report.complete
    total = sum(parameter.numel() for parameter in fresh.parameters())
    assert report.filled == pytest.approx(1 - 48 / total)
    for key, value in kept.items():
        torch.testing.assert_close(fresh.state_dict()[key], value, rtol=0, atol=0)
    for name in ('cls_token', 'layers.0.ln1.weight [7] -> [24]', 'extra'):
        assert name in report.table()
    assert 'missing        1  cls_token' in report.table()
