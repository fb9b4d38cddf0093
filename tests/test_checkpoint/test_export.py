"""Exported encoders, loaded the way each library does, give the source's features; 1e-5, three image sizes each."""

import os
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from fixtures.encoders import (
    DEPTH,
    HEADS,
    PATCH,
    SWIN,
    SWIN_WIDTH,
    WIDTH,
    WINDOW,
    filled,
    mm_resnet,
    mm_swin,
    mm_vit,
    mmseg_vit,
    other_swin,
    timm_names,
)
from mmengine.config import ConfigDict
from torch import Tensor, nn

from repre_mm.checkpoint import CheckpointError, export_encoder, load_pretrained, read_checkpoint
from repre_mm.checkpoint.export import TARGETS, tensors_sha256
from repre_mm.models.backbones import TimmBackbone

TIMM_VIT = dict(patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=2, num_classes=0)
TIMM_SWIN = dict(img_size=64, window_size=WINDOW, embed_dim=SWIN_WIDTH, num_classes=0, strict_img_size=False, **SWIN)
VIT_SIZES = (32, 48, 72)
# Maps of 16, 8, 4; 32, 16, 8; 48, 24, 12 cells: whole windows of 4. Elsewhere the libraries pad and shift differently.
SWIN_SIZES = (64, 128, 192)


def save(encoder: nn.Module, path: Path, prefix: str = 'backbone.') -> Path:
    state = {prefix + key: value for key, value in encoder.state_dict().items()}
    config = "model = dict(algorithm=dict(type='MoCoV3'), type='repre_mm.RePreAlgorithm')"
    meta = {'epoch': 7, 'iter': 70, 'cfg': config, 'experiment_name': 'tiny_2026'}
    torch.save({'state_dict': {**state, 'neck.w': torch.ones(10**6)}, 'meta': meta}, path)
    return path


def pretrained(out: Path, prefix: str) -> ConfigDict:
    cfg = ConfigDict(type='Pretrained', checkpoint=str(out))
    return ConfigDict(cfg, prefix=prefix) if prefix else cfg


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size)


@torch.no_grad()
def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.std() > 0.1  # nothing to compare otherwise
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@pytest.fixture
def vit(tmp_path) -> tuple[nn.Module, Path]:
    encoder = mm_vit()
    return encoder, save(encoder, tmp_path / 'vit.pth')


@pytest.fixture
def swin(tmp_path) -> tuple[nn.Module, Path]:
    encoder = mm_swin()
    return encoder, save(encoder, tmp_path / 'swin.pth')


def test_mmpretrain_vit(vit, tmp_path):
    source, path = vit
    meta = export_encoder(path, tmp_path / 'out.pth', 'mmpretrain')
    encoder = filled(mm_vit(init_cfg=pretrained(tmp_path / 'out.pth', meta['prefix'])), seed=1)
    encoder.init_weights()
    for size in VIT_SIZES:
        x = images(size)
        assert_same(source(x)[0], encoder(x)[0])


def test_mmseg_vit_has_names_of_its_own(vit, tmp_path):
    source, path = vit
    meta = export_encoder(path, tmp_path / 'out.pth', 'mmseg')
    assert (meta['names'], meta['prefix']) == ('mmseg', '')
    encoder = mmseg_vit(init_cfg=pretrained(tmp_path / 'out.pth', ''))
    encoder.init_weights()
    encoder.eval()
    for size in VIT_SIZES:
        x = images(size)
        # (B, 1 + N, C) and (B, C, h, w)
        assert_same(source(x)[0][:, 1:].transpose(1, 2), encoder(x)[0].flatten(2))


def test_timm_vit(vit, tmp_path):
    source, path = vit
    export_encoder(path, tmp_path / 'out.pth', 'timm')
    encoder = timm.create_model(
        'vit_small_patch16_224', img_size=32, checkpoint_path=str(tmp_path / 'out.pth'), **TIMM_VIT
    ).eval()
    x = images(32)
    assert_same(source(x)[0], encoder.forward_features(x))


@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet', 'mmseg'])
def test_swin_of_openmmlab(swin, tmp_path, library):
    source, path = swin
    meta = export_encoder(path, tmp_path / 'out.pth', library)
    init_cfg = pretrained(tmp_path / 'out.pth', meta['prefix'])
    if library == 'mmpretrain':
        encoder = filled(mm_swin(init_cfg=init_cfg), seed=1)
    else:
        encoder = other_swin(library, init_cfg=init_cfg)
    encoder.init_weights()
    encoder.eval()
    for size in SWIN_SIZES:
        x = images(size)
        assert_same(source(x)[0], encoder(x)[0])


def test_timm_swin(swin, tmp_path):
    source, path = swin
    export_encoder(path, tmp_path / 'out.pth', 'timm')
    checkpoint = str(tmp_path / 'out.pth')
    encoder = timm.create_model('swin_tiny_patch4_window7_224', checkpoint_path=checkpoint, **TIMM_SWIN).eval()
    for size in SWIN_SIZES:
        x = images(size)
        assert_same(source(x)[0], encoder.forward_features(x).permute(0, 3, 1, 2))


def test_norms_of_other_outputs_are_left_out_and_noted(tmp_path):
    swin = mm_swin(out_indices=(1, 2))
    meta = export_encoder(save(swin, tmp_path / 'swin.pth'), tmp_path / 'out.pth', 'timm')
    assert meta['left_out'] == ['norm1.weight', 'norm1.bias']
    encoder = timm.create_model(
        'swin_tiny_patch4_window7_224', checkpoint_path=str(tmp_path / 'out.pth'), **TIMM_SWIN
    ).eval()
    x = images(64)
    assert_same(swin(x)[-1], encoder.forward_features(x).permute(0, 3, 1, 2))
    vit = mm_vit(out_type='avg_featmap')
    meta = export_encoder(save(vit, tmp_path / 'vit.pth'), tmp_path / 'out.pth', 'timm')
    assert meta['left_out'] == ['ln2.weight', 'ln2.bias']
    encoder = timm.create_model(
        'vit_small_patch16_224', img_size=32, checkpoint_path=str(tmp_path / 'out.pth'), **TIMM_VIT
    ).eval()
    x = images(32)
    assert_same(vit(x)[0], vit.ln2(encoder.forward_features(x)[:, 1:].mean(1)))


@pytest.mark.parametrize('to', ['timm', 'mmdet'])
def test_resnet(tmp_path, to):
    source = mm_resnet(width=64)
    meta = export_encoder(save(source, tmp_path / 'resnet.pth'), tmp_path / 'out.pth', to)
    checkpoint = torch.load(tmp_path / 'out.pth', weights_only=True)
    state = {key.removeprefix(meta['prefix']): value for key, value in checkpoint['state_dict'].items()}
    encoder = timm.create_model('resnet18', num_classes=0) if to == 'timm' else torchvision.models.resnet18()
    assert set(encoder.load_state_dict(state, strict=False).missing_keys) <= {'fc.weight', 'fc.bias'}
    encoder.fc = nn.Identity()
    encoder.eval()
    for size in (32, 64, 96):
        x = images(size)
        assert_same(source(x)[-1].mean((2, 3)), encoder(x))


@pytest.mark.parametrize('name', ['vit', 'swin'])
def test_safetensors(name, request, tmp_path):
    source, path = request.getfixturevalue(name)
    meta = export_encoder(path, tmp_path / 'out.safetensors', 'safetensors')
    state = safetensors.torch.load_file(tmp_path / 'out.safetensors')
    assert tensors_sha256(state) == meta['sha256']
    encoder = {'vit': mm_vit, 'swin': mm_swin}[name]()
    filled(encoder, seed=1).load_state_dict(state)
    for size in SWIN_SIZES:
        x = images(size)
        assert_same(source(x)[0], encoder(x)[0])
    # And back through our own reader, meta data included.
    assert read_checkpoint(tmp_path / 'out.safetensors')['meta'] == meta
    report = load_pretrained(filled(encoder, seed=1), tmp_path / 'out.safetensors')
    assert report.complete
    assert 'an encoder exported by repre_mm' in report.source


def test_timm_backbone_gives_timm_its_own_names(tmp_path):
    source = TimmBackbone('convnext_atto', depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)).eval()
    path = save(source, tmp_path / 'convnext.pth')
    export_encoder(path, tmp_path / 'out.pth', 'timm')
    encoder = timm.create_model(
        'convnext_atto',
        depths=(1, 1, 1, 1),
        dims=(8, 8, 8, 8),
        num_classes=0,
        checkpoint_path=str(tmp_path / 'out.pth'),
    ).eval()
    for size in (32, 64, 96):
        x = images(size)
        assert_same(source(x)[0], encoder(x))
    with pytest.raises(CheckpointError, match='no table of names'):
        export_encoder(path, tmp_path / 'out.pth', 'mmpretrain')


def test_file_holds_the_encoder_only_and_says_where_it_comes_from(vit, tmp_path):
    source, path = vit
    meta = export_encoder(path, tmp_path / 'out.pth', 'timm')
    checkpoint = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert checkpoint['meta'] == meta
    assert checkpoint['state_dict'].keys() == timm_names(source).keys()
    assert meta['sha256'] == tensors_sha256(checkpoint['state_dict']) == tensors_sha256(timm_names(source))
    expected = {'method': 'repre_mm.RePreAlgorithm(MoCoV3)', 'epoch': 7, 'iter': 70, 'experiment': 'tiny_2026'}
    assert {key: meta[key] for key in expected} == expected
    assert 'vit.pth' in meta['source']
    assert (tmp_path / 'out.pth').stat().st_size < 10**5 < path.stat().st_size
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith('.tmp')] == []
    # What is known stays known when an exported file is exported again.
    again = export_encoder(tmp_path / 'out.pth', tmp_path / 'again.pth', 'mmpretrain')
    assert {key: again[key] for key in expected} == expected
    assert load_pretrained(filled(mm_vit(), seed=1), tmp_path / 'again.pth').complete


def test_views_do_not_carry_their_storage_along(tmp_path):
    state = {key: torch.cat([value[None]] * 99)[0] for key, value in mm_vit().state_dict().items()}
    torch.save(state, tmp_path / 'views.pth')
    export_encoder(tmp_path / 'views.pth', tmp_path / 'out.pth', 'mmpretrain')
    assert (tmp_path / 'out.pth').stat().st_size < 10**5


def test_hash_sees_names_shapes_types_and_numbers():
    state = {'a': torch.arange(4.0), 'b': torch.ones(2)}
    variants = [
        state,
        {'a': state['a'], 'c': state['b']},
        {'a': state['a'].view(2, 2), 'b': state['b']},
        {'a': state['a'].bfloat16(), 'b': state['b']},
        {'a': state['a'], 'b': torch.tensor([1, 1.0000001])},
    ]
    assert len({tensors_sha256(variant) for variant in variants}) == len(variants)
    assert tensors_sha256(dict(reversed(state.items()))) == tensors_sha256(state)


def test_what_a_library_cannot_hold_is_refused(tmp_path):
    path = save(mm_vit(layer_scale_init_value=0.1), tmp_path / 'source.pth')
    with pytest.raises(CheckpointError, match=rf"cannot export {path}: mmseg's ViT has no place for .*gamma1"):
        export_encoder(path, tmp_path / 'out.pth', 'mmseg')
    assert not (tmp_path / 'out.pth').exists()


def test_bad_destinations_are_refused_before_reading(tmp_path):
    nowhere = tmp_path / 'no.pth'
    for out, to, cause in (
        (tmp_path / 'folder' / 'out.pth', 'timm', 'no folder'),
        (tmp_path, 'timm', 'is a folder'),
        (tmp_path / 'out.pth', 'safetensors', r'\.safetensors'),
        (tmp_path / 'out.safetensors', 'timm', r'\.pth'),
        (tmp_path / 'out.pth', 'tensorflow', ', '.join(TARGETS)),
    ):
        with pytest.raises(CheckpointError, match=cause):
            export_encoder(nowhere, out, to)


def test_interrupted_write_leaves_the_old_file(vit, tmp_path, monkeypatch):
    out = tmp_path / 'out.pth'
    out.write_text('old')

    def fail(content, file) -> None:
        file.write(b'half')
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(CheckpointError, match=r'cannot write .*out\.pth.*No space left'):
        export_encoder(vit[1], out, 'timm')
    assert {file.name for file in tmp_path.iterdir()} == {'out.pth', 'vit.pth'}
    assert out.read_text() == 'old'
