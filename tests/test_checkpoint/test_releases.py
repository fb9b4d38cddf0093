"""Released files, laid out by their authors' code: recognised, and read to the features that this code gives."""

from dataclasses import asdict

import pytest
import torch
from fixtures import released
from fixtures.encoders import filled, timm_names, timm_vit
from fixtures.released import assert_golden
from mmpretrain.models import MoCoV3ViT, VisionTransformer
from mmpretrain.models.selfsup import BEiTPretrainViT, MAEViT
from torch import Tensor, nn

from repre_mm.checkpoint import (
    CheckpointError,
    Release,
    export_encoder,
    identify,
    load_pretrained,
    projector,
    read_checkpoint,
    recognise,
)
from repre_mm.checkpoint.layouts import get_layout
from repre_mm.checkpoint.releases import HALF, IMAGENET_MEAN
from repre_mm.models.backbones import TimmBackbone

SMALL, BASE = {'num_heads': 6}, {'num_heads': 12}
BEIT = {'use_abs_pos_emb': False, **BASE}
SHARED = {'global_pool': 'token', 'use_rel_pos_bias': False, 'use_shared_rel_pos_bias': True, **BEIT}
PER_BLOCK = {'global_pool': 'avg', 'use_rel_pos_bias': True, 'use_shared_rel_pos_bias': False, **BEIT}
CAE = {'global_pool': 'token', 'use_abs_pos_emb': True, 'use_rel_pos_bias': False, 'use_shared_rel_pos_bias': False}
# file -> method, timm model and options, encoders of which the first is the default
EXPECTED = {
    'DINO ViT-S/16': ('DINO', 'vit_small_patch16_224', SMALL, 'target online'),
    'DINO ViT-S/16 alone': ('DINO', 'vit_small_patch16_224', {}, 'target'),
    'DINO ViT-S/8 alone': ('DINO', 'vit_small_patch16_224', {'patch_size': 8}, 'target'),
    'iBOT ViT-S': ('iBOT', 'vit_small_patch16_224', SMALL, 'target online'),
    'iBOT ViT-S alone': ('iBOT', 'vit_small_patch16_224', {}, 'target'),
    'MoCo v3 ViT-S': ('MoCo v3', 'vit_small_patch16_224', BASE, 'online target'),
    'MoCo v3 ViT-B': ('MoCo v3', 'vit_base_patch16_224', BASE, 'online target'),
    'MAE ViT-B, with decoder': ('MAE', 'vit_base_patch16_224', BASE, 'online'),
    'MAE ViT-B, without decoder': ('MAE', 'vit_base_patch16_224', BASE, 'online'),
    'MAE ViT-B, training': ('MAE', 'vit_base_patch16_224', BASE, 'online'),
    'MAE ViT-B, fine-tuned': ('MAE, fine-tuned', 'vit_base_patch16_224', {'global_pool': 'avg', **BASE}, 'online'),
    'DeiT-S': ('DeiT', 'vit_small_patch16_224', SMALL, 'online'),
    'DeiT-S training': ('DeiT', 'vit_small_patch16_224', SMALL, 'online target'),
    'DeiT-S distilled': ('DeiT', 'deit_small_distilled_patch16_224', SMALL, 'online'),
    'BEiT-B': ('BEiT', 'beit_base_patch16_224', SHARED, 'online'),
    'BEiT-B fine-tuned': ('BEiT', 'beit_base_patch16_224', PER_BLOCK, 'online'),
    'CAE-S': ('CAE', 'beit_base_patch16_224', {'embed_dim': 384, **CAE, **BASE}, 'online target'),
    'CAE-B alone': ('CAE', 'beit_base_patch16_224', {**CAE, **BASE}, 'online'),
    'MoBY DeiT-S': ('MoBY', 'vit_small_patch16_224', SMALL, 'online target'),
    'MoBY Swin-T': ('MoBY', 'swin_tiny_patch4_window7_224', {}, 'online target'),
    'Swin-T': ('Swin', 'swin_tiny_patch4_window7_224', {}, 'online'),
}


def build(release: Release) -> nn.Module:
    return TimmBackbone(release.architecture, **release.options).eval()


def images(release: Release) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (release.mean, release.std))
    return (released.image() - mean) / std


def test_every_layout_has_its_expectation():
    assert set(EXPECTED) == set(released.names())


@pytest.mark.parametrize('name', EXPECTED)
def test_model_and_encoders_are_told_by_names_and_shapes(name):
    release = identify(released.meta_file(name))
    method, architecture, options, encoders = EXPECTED[name]
    assert (release.method, release.architecture, release.options) == (method, architecture, options)
    assert (release.default, set(release.prefixes)) == (encoders.split()[0], set(encoders.split()))


# The others are large, or quick in test_released_routes.py.
QUICK = ('iBOT ViT-S', 'BEiT-B', 'Swin-T')


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in EXPECTED]
)
@torch.no_grad()
def test_features_are_those_of_the_authors_code(name, tmp_path):
    checkpoint, golden = released.released_file(name), released.features(name)
    release = identify(checkpoint)
    torch.save(checkpoint, tmp_path / 'file.pth')
    encoder = build(release)
    report = load_pretrained(encoder, tmp_path / 'file.pth')
    assert report.complete
    assert not report.unexpected
    features = encoder(images(release))[0]
    assert_golden(features, golden['encoder'])
    if 'projector' in golden:
        assert_golden(projector(checkpoint)(features), golden['projector'])


def mm_file(encoder: nn.Module, **others: Tensor) -> dict:
    """As mmpretrain publishes its own trainings: ``backbone.`` and what the algorithm adds."""
    state = {f'backbone.{key}': released.tensor(key, tuple(value.shape)) for key, value in encoder.state_dict().items()}
    return {'state_dict': state | others, 'meta': {}}


@torch.no_grad()
def mm_reference(encoder: nn.Module, content: dict) -> Tensor:
    own = encoder.state_dict()
    new = {
        key.removeprefix('backbone.'): value for key, value in content['state_dict'].items() if key[:9] == 'backbone.'
    }
    encoder.load_state_dict({key: own[key] if key.endswith('index') else new[key] for key in own})
    encoder.eval()
    batch = released.image() / 64 - 2
    tokens = encoder(batch, None) if isinstance(encoder, (MAEViT, BEiTPretrainViT)) else encoder(batch)
    return tokens[0] if isinstance(tokens, tuple) else tokens


MM = {
    'MoCo v3 of mmpretrain': (
        lambda: MoCoV3ViT(arch='mocov3-small', patch_size=16, out_type='raw'),
        {'head.predictor.fc0.weight': torch.ones(2, 2)},
        'vit_small_patch16_224',
    ),
    'MAE of mmpretrain': (
        lambda: MAEViT('deit-small', mask_ratio=0.0),
        {'neck.decoder_embed.weight': torch.ones(2, 2), 'neck.mask_token': torch.ones(1, 1, 2)},
        'vit_small_patch16_224',
    ),
    'BEiT of mmpretrain': (
        lambda: BEiTPretrainViT('base', patch_size=16, final_norm=True, out_type='raw', layer_scale_init_value=0.1),
        {'head.cls_head.weight': torch.ones(2, 2)},
        'beit_base_patch16_224',
    ),
}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow) if 'BEiT' in name else name for name in MM]
)
@torch.no_grad()
def test_mmpretrains_own_files(name, tmp_path):
    make, others, architecture = MM[name]
    reference = make()
    content = mm_file(reference, **others)
    release = identify(content)
    assert (release.method, release.architecture, release.mean) == (name, architecture, IMAGENET_MEAN)
    assert release.options['num_heads'] == (12 if architecture.startswith('beit') or 'MoCo' in name else 6)
    tokens = mm_reference(reference, content)
    torch.save(content, tmp_path / 'file.pth')
    encoder = build(release)
    report = load_pretrained(encoder, tmp_path / 'file.pth')
    assert (report.complete, report.unexpected) == (True, ())
    torch.testing.assert_close(encoder(released.image() / 64 - 2)[0], tokens[:, 0], rtol=1e-4, atol=1e-4)


def test_inception_mean_is_beits_alone():
    for name, mean in (('BEiT-B', HALF), ('CAE-B alone', IMAGENET_MEAN), ('DeiT-S', IMAGENET_MEAN)):
        assert identify(released.meta_file(name)).mean == mean


TINY = dict(patch_size=8, embed_dim=24, depth=2, num_heads=2, img_size=32)


def beit(**options) -> nn.Module:
    return filled(TimmBackbone('beit_base_patch16_224', **TINY, **options))


SHARED_TABLE = dict(global_pool='token', use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
ABSOLUTE = dict(global_pool='token', use_rel_pos_bias=False, use_abs_pos_emb=True)


@pytest.mark.parametrize(
    ('source', 'encoder', 'lost'),
    [
        (SHARED_TABLE, {}, 'rel_pos_bias.relative_position_bias_table'),
        (SHARED_TABLE, ABSOLUTE, 'rel_pos_bias.relative_position_bias_table'),
        (SHARED_TABLE, {**SHARED_TABLE, 'global_pool': 'avg'}, 'model.norm.weight'),
        (SHARED_TABLE, {**SHARED_TABLE, 'init_values': 0}, 'model.blocks.0.gamma_1'),
        (ABSOLUTE, {**ABSOLUTE, 'use_abs_pos_emb': False}, 'model.pos_embed'),
        ({}, {'global_pool': 'token'}, 'model.fc_norm.weight'),
        (ABSOLUTE, {**ABSOLUTE, 'use_rel_pos_bias': True}, 'relative_position_bias_table, ...*which the file lacks'),
    ],
)
def test_positions_and_norms_that_find_no_place_are_refused(source, encoder, lost, tmp_path):
    torch.save({'model': beit(**source).model.state_dict()}, tmp_path / 'file.pth')
    assert load_pretrained(beit(**source), tmp_path / 'file.pth').complete
    with pytest.raises(CheckpointError, match=lost.replace('*', '.*')):
        load_pretrained(beit(**encoder), tmp_path / 'file.pth')


def test_the_refusal_says_which_model_fits(tmp_path):
    torch.save(released.released_file('DeiT-S distilled'), tmp_path / 'deit.pth')
    plain = TimmBackbone('vit_small_patch16_224')
    with pytest.raises(CheckpointError, match=r'no place for model\.dist_token.*timm:deit_small_distilled_patch16_224'):
        load_pretrained(plain, tmp_path / 'deit.pth')
    torch.save(released.released_file('CAE-S'), tmp_path / 'cae.pth')
    with pytest.raises(
        CheckpointError, match=r'it holds a BEiT.*CAE weights, which fit timm:beit_base_patch16_224,embed'
    ):
        load_pretrained(plain, tmp_path / 'cae.pth')


def test_patches_of_another_size_are_refused(tmp_path):
    torch.save(released.released_file('DINO ViT-S/8 alone'), tmp_path / 'dino.pth')
    with pytest.raises(CheckpointError, match=r'no place for .*patch_embed\.proj\.weight.*16_224,patch_size=8'):
        load_pretrained(TimmBackbone('vit_small_patch16_224'), tmp_path / 'dino.pth')


def mae_file() -> tuple[nn.Module, dict]:
    encoder = filled(timm_vit())
    decoder = {f'decoder_blocks.{i}.attn.qkv.weight': torch.ones(48, 16) for i in range(8)}
    decoder |= {'decoder_embed.weight': torch.ones(16, 24), 'decoder_pos_embed': torch.ones(1, 17, 16)}
    return encoder, {'model': timm_names(encoder) | decoder | {'mask_token': torch.ones(1, 1, 16)}}


def test_the_decoder_of_mae_is_neither_left_over_nor_exported(tmp_path):
    encoder, content = mae_file()
    torch.save(content, tmp_path / 'mae.pth')
    fresh = filled(timm_vit(), seed=1)
    report = load_pretrained(fresh, tmp_path / 'mae.pth')
    assert (report.complete, report.unexpected) == (True, ())
    assert {'mask_token', 'decoder_embed.weight'} <= set(report.heads)
    export_encoder(tmp_path / 'mae.pth', tmp_path / 'out.pth', 'timm')
    exported = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    torch.testing.assert_close(exported, dict(encoder.state_dict()), rtol=0, atol=0)


def test_an_exported_file_keeps_what_its_release_was(tmp_path):
    torch.save(released.released_file('MoCo v3 ViT-S'), tmp_path / 'moco.pth')
    release = identify(torch.load(tmp_path / 'moco.pth', weights_only=True))
    for out, to, prefix in (
        ('a.pth', 'timm', ''),
        ('b.safetensors', 'safetensors', ''),
        ('c.pth', 'mmpretrain', 'backbone.'),
    ):
        export_encoder(tmp_path / 'moco.pth', tmp_path / out, to)
        exported = identify(read_checkpoint(tmp_path / out))
        assert asdict(exported) == {**asdict(release), 'prefixes': {'online': prefix}}


def test_what_is_no_release_is_none():
    assert identify({'state_dict': {'backbone.conv1.weight': torch.ones(1)}}) is None
    assert identify({'epoch': 3}) is None
    # BYOL has MoCo v3's names.
    predictor = {'head.predictor.fc0.weight': torch.ones(2, 2), 'head.predictor.fc0.bias': torch.ones(2)}
    vit = {f'backbone.{key}': value for key, value in VisionTransformer('deit-tiny').state_dict().items()}
    assert identify({'state_dict': vit | predictor}) is None
    del predictor['head.predictor.fc0.bias']
    assert identify({'state_dict': vit | predictor}).method == 'MoCo v3 of mmpretrain'
    # A classifier of anybody's: neither its normalisation nor its heads are known.
    assert identify(timm_names(timm_vit()) | {'head.weight': torch.ones(2, 24)}) is None


def test_prefixes_lead_to_both_encoders():
    checkpoint = released.released_file('DINO ViT-S/16')
    release = identify(checkpoint)
    for which, container in (('online', 'student'), ('target', 'teacher')):
        state = recognise(checkpoint, prefix=release.prefixes[which]).state
        prefix = 'module.backbone.' if which == 'online' else 'backbone.'
        torch.testing.assert_close(state['cls_token'], checkpoint[container][f'{prefix}cls_token'], rtol=0, atol=0)
    assert get_layout('ViT', 'timm').at(state) == ['']
