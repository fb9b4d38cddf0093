"""Filling encoders from checkpoints: names, prefixes and shapes."""

import pytest
import torch
from mmpretrain.models import MoCoV3ViT, SwinTransformer, VisionTransformer
from torch import nn

from repre_mm.checkpoint import CheckpointError, load_pretrained, recognise


def _vit(img_size: int = 32, embed_dims: int = 24, num_layers: int = 2, cls: type = VisionTransformer):
    arch = {
        'embed_dims': embed_dims,
        'num_layers': num_layers,
        'num_heads': 2,
        'feedforward_channels': 2 * embed_dims,
    }
    vit = cls(arch=arch, img_size=img_size, patch_size=8)
    # Biases start at 0 and norms at 1: equal in every model, which would hide a tensor that was not copied.
    for parameter in vit.parameters():
        nn.init.normal_(parameter)
    return vit


def _swin():
    arch = {'embed_dims': 24, 'depths': [1, 1], 'num_heads': [1, 2]}
    return SwinTransformer(arch=arch, img_size=32, window_size=4, out_indices=(1,), pad_small_map=True)


def _save(encoder: nn.Module, path, prefix: str = 'backbone.', **others):
    state = {prefix + key: value for key, value in encoder.state_dict().items()}
    torch.save({'state_dict': {**state, **others}, 'meta': {'epoch': 1}}, path)
    return path


@pytest.mark.parametrize('build', [_vit, lambda: _vit(cls=MoCoV3ViT), _swin])
def test_whole_encoder_is_filled_and_gives_the_same_features(tmp_path, build):
    trained, fresh = build(), build()
    head = {'neck.fc.weight': torch.ones(2), 'momentum_encoder.module.0.cls_token': torch.ones(1, 1, 24)}
    report = load_pretrained(fresh, _save(trained, tmp_path / 'epoch_1.pth', **head))
    assert report.complete
    assert report.filled == 1.0
    assert not report.unexpected
    assert set(report.loaded) == set(trained.state_dict())
    trained.eval()
    fresh.eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(fresh(images)[-1], trained(images)[-1], rtol=0, atol=0)


@pytest.mark.parametrize('prefix', ['module.backbone.', 'backbone.'])
def test_distributed_wrapper_is_taken_off(prefix):
    content = {'state_dict': {f'{prefix}w': torch.ones(1), f'{prefix}layers.0.b': torch.ones(2)}}
    assert sorted(recognise(content, prefix='backbone.').state) == ['layers.0.b', 'w']


def test_plain_state_dict_and_other_prefixes():
    plain = {'w': torch.ones(1), 'encoder_q.w': torch.zeros(1)}
    assert recognise(plain, prefix='').state['w'] == 1
    assert list(recognise(plain, prefix='encoder_q').state) == ['w']


def test_absent_prefix_lists_those_present():
    state = {'head.w': torch.ones(1), 'encoder_q.a': torch.ones(1), 'encoder_q.b': torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"'backbone\.'.*encoder_q\. \(2\), head\. \(1\)"):
        recognise({'state_dict': state}, prefix='backbone.')


def test_no_tensors_at_all():
    with pytest.raises(CheckpointError, match="'epoch', 'model'"):
        recognise({'epoch': 3, 'model': {'w': 1}}, prefix='backbone.')


def test_error_names_the_file(tmp_path):
    path = _save(_vit(), tmp_path / 'other.pth', prefix='student.')
    with pytest.raises(CheckpointError, match=rf'{path}.*student\.'):
        load_pretrained(_vit(), path, prefix='backbone.')


def test_other_width_is_refused(tmp_path):
    path = _save(_vit(embed_dims=48), tmp_path / 'wide.pth')
    with pytest.raises(CheckpointError, match='of another kind or size') as caught:
        load_pretrained(_vit(), path)
    assert 'mismatched' in str(caught.value)
    assert '[1, 1, 48] -> [1, 1, 24]' in str(caught.value)


def test_other_kind_of_encoder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='another kind of encoder than VisionTransformer'):
        load_pretrained(_vit(), _save(_swin(), tmp_path / 'swin.pth'))


def test_fewer_layers_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r': \d+\.\d% of its parameters'):
        load_pretrained(_vit(num_layers=4), _save(_vit(num_layers=2), tmp_path / 'short.pth'))


def test_other_image_size_is_resized_and_said(tmp_path):
    trained, fresh = _vit(img_size=32), _vit(img_size=48)
    report = load_pretrained(fresh, _save(trained, tmp_path / 'epoch_1.pth'))
    assert report.resized == {'pos_embed': ((1, 17, 24), (1, 37, 24))}
    assert report.complete
    assert 'pos_embed [1, 17, 24] -> [1, 37, 24]' in report.table()
    # The class token's position has no grid: it comes over unchanged.
    torch.testing.assert_close(fresh.pos_embed[:, 0], trained.pos_embed[:, 0], rtol=0, atol=0)
