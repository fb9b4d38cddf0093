"""Recognition of the encoder in files of every kind, which then fills an encoder of another library or is refused."""

import argparse
import copy

import pytest
import torch
from fixtures.encoders import filled, mm_resnet, mm_swin, mmseg_vit, moco_vit, timm_names, timm_swin
from torch import nn

from repre_mm.checkpoint import (
    CheckpointError,
    export_encoder,
    inspect_checkpoint,
    load_pretrained,
    read_checkpoint,
    recognise,
)
from repre_mm.checkpoint.layouts import get_layout
from repre_mm.models.backbones import TimmBackbone


def prefixed(prefix: str, state: dict) -> dict:
    return {prefix + key: value for key, value in state.items()}


def under(prefix: str, encoder: nn.Module) -> dict:
    return prefixed(prefix, encoder.state_dict())


def release_names(swin: nn.Module) -> dict:
    """As Swin's authors name it."""
    return get_layout('Swin', 'release').from_pivot(swin.state_dict())


def mm(**containers) -> dict:
    """A training checkpoint of MMEngine."""
    return {**containers, 'meta': META, 'optimizer': {'state': {0: {'exp_avg': torch.ones(2)}}}}


RIGHT, WRONG = moco_vit(), filled(moco_vit(), seed=1)
SWIN, WRONG_SWIN = mm_swin(), filled(mm_swin(), seed=1)
RESNET = mm_resnet()
META = {'epoch': 3, 'experiment_name': 'run', 'cfg': "model = dict(type='MoCoV3')"}
FC = {'fc.weight': torch.ones(5, 64), 'fc.bias': torch.ones(5)}
HEAD = {'head.weight': torch.ones(5, 24), 'head.bias': torch.ones(5)}


# name -> (the file, the encoder that it has to fill, what it is said to be, where)
FILES = {
    'this project: training': (
        mm(state_dict=under('backbone.', RIGHT) | under('momentum_encoder.module.0.', WRONG)),
        RIGHT,
        'OpenMMLab checkpoint, the online encoder',
        'state_dict.backbone.',
    ),
    'MMEngine, average and original': (
        # MMEngine swaps them on saving, so that `state_dict` holds the averages.
        mm(state_dict=under('backbone.', RIGHT), ema_state_dict=under('module.backbone.', WRONG)),
        RIGHT,
        'OpenMMLab checkpoint, the online encoder',
        'state_dict.backbone.',
    ),
    'MMEngine, average only': (
        {'ema_state_dict': {**under('module.backbone.', RIGHT), 'steps': torch.tensor(3)}},
        RIGHT,
        'the only encoder in the file',
        'ema_state_dict.backbone.',
    ),
    'target encoder only': (
        {'state_dict': under('momentum_encoder.module.0.', RIGHT)},
        RIGHT,
        'the only encoder in the file',
        'state_dict.momentum_encoder.0.',
    ),
    'plain dictionary of a whole model': (
        under('module.backbone.', RIGHT) | {'neck.fc0.weight': torch.ones(2, 2)},
        RIGHT,
        'OpenMMLab checkpoint, the online encoder',
        'backbone.',
    ),
    'plain dictionary of an encoder': (under('', SWIN), SWIN, 'weights of an encoder', ''),
    'compiled': (under('_orig_mod.', RIGHT), RIGHT, 'weights of an encoder', ''),
    'DINO, full': (
        {
            'student': prefixed('module.backbone.', timm_names(WRONG)) | {'module.head.mlp.0.weight': torch.ones(2, 2)},
            'teacher': prefixed('backbone.', timm_names(RIGHT)) | {'head.mlp.0.weight': torch.ones(2, 2)},
            'epoch': 100,
            'args': argparse.Namespace(arch='vit_small'),
        },
        RIGHT,
        'DINO, the target encoder',
        'teacher.backbone.',
    ),
    'DINO, encoder only; timm': (timm_names(RIGHT), RIGHT, 'DINO, the target encoder', ''),
    'MoCo v3': (
        {
            'epoch': 300,
            'arch': 'vit_small',
            'state_dict': prefixed('module.base_encoder.', timm_names(RIGHT) | {'head.0.weight': torch.ones(9, 24)})
            | prefixed('module.momentum_encoder.', timm_names(WRONG))
            | {'module.predictor.0.weight': torch.ones(2, 2)},
        },
        moco_vit(arch=dict(num_heads=12)),
        'MoCo v3, the online encoder',
        'state_dict.base_encoder.',
    ),
    'MoCo v2': (
        {
            'state_dict': under('module.encoder_q.', RESNET)
            | prefixed('module.encoder_q.', FC)
            | prefixed('module.encoder_k.', filled(mm_resnet(), seed=1).state_dict())
        },
        RESNET,
        'MoCo, the online encoder',
        'state_dict.encoder_q.',
    ),
    'MoBY': (
        {
            'model': prefixed('encoder.', release_names(SWIN))
            | prefixed('encoder_k.', release_names(WRONG_SWIN))
            | {'projector.linear_hidden.1.weight': torch.ones(2, 2)}
        },
        SWIN,
        'MoBY, the online encoder',
        'model.encoder.',
    ),
    'timm training': (
        {'epoch': 3, 'state_dict': timm_names(WRONG) | HEAD, 'state_dict_ema': timm_names(RIGHT) | HEAD},
        RIGHT,
        'timm training checkpoint, the averaged weights',
        'state_dict_ema.',
    ),
    'torchvision ResNet': (RESNET.state_dict() | FC, RESNET, 'weights of an encoder', ''),
    'an unknown prefix': (
        {'state_dict': under('my.encoder.', SWIN) | {'my.head.weight': torch.ones(2, 2)}},
        SWIN,
        'the only encoder in the file',
        'state_dict.my.encoder.',
    ),
}


@pytest.mark.parametrize('name', FILES)
def test_the_right_encoder_is_found_and_arrives(name, tmp_path):
    content, expected, what, place = FILES[name]
    torch.save(content, tmp_path / 'file.pth')
    source = recognise(read_checkpoint(tmp_path / 'file.pth', trust=True))
    assert (source.what, source.place) == (what, place)
    fresh = filled(copy.deepcopy(expected), seed=9)
    report = load_pretrained(fresh, tmp_path / 'file.pth', trust=True)
    assert report.complete
    assert (report.filled, report.unexpected, report.resized) == (1.0, (), {})
    assert what in report.table()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(fresh(images)[-1], expected(images)[-1], rtol=0, atol=0)


def test_other_encoders_of_the_file_are_named_and_can_be_told():
    content = FILES['this project: training'][0]
    assert recognise(content).others == ('state_dict.momentum_encoder.0.',)
    told = recognise(content, prefix='momentum_encoder.module.0')
    torch.testing.assert_close(told.state['cls_token'], WRONG.cls_token.data, rtol=0, atol=0)
    student = recognise(FILES['DINO, full'][0], prefix='student.module.backbone.')
    torch.testing.assert_close(student.state['cls_token'], WRONG.cls_token.data, rtol=0, atol=0)


def test_a_prefix_can_be_told():
    plain = {'w': torch.ones(1), 'module.encoder_q.w': torch.zeros(1)}
    assert recognise(plain, prefix='').state['w'] == 1
    assert list(recognise(plain, prefix='encoder_q').state) == ['w']
    with pytest.raises(
        CheckpointError, match=r"'backbone\.'.* present: state_dict\.w\. \(1\), state_dict\.encoder_q\. \(1\)"
    ):
        recognise({'state_dict': plain}, prefix='backbone.')


def test_moco_v3_has_twelve_heads_at_any_width(tmp_path):
    content = FILES['MoCo v3'][0]
    assert recognise(content).release.options == {'num_heads': 12}
    assert 'trained with 12 attention heads, this encoder has 2: set num_heads=12' in refusal(
        moco_vit(), content, tmp_path
    )
    assert load_pretrained(moco_vit(arch=dict(num_heads=12)), tmp_path / 'weights.pth').complete
    assert export_encoder(tmp_path / 'weights.pth', tmp_path / 'out.pth', 'timm')['num_heads'] == 12
    assert inspect_checkpoint(tmp_path / 'out.pth')['num_heads'] == 12
    with pytest.raises(CheckpointError, match='trained with 12 attention heads'):
        load_pretrained(moco_vit(), tmp_path / 'out.pth')


def test_beit_fills_a_beit_only(tmp_path):
    build = dict(patch_size=8, embed_dim=24, depth=2, num_heads=2, img_size=32)
    trained, fresh = (filled(TimmBackbone('beit_base_patch16_224', **build), seed=seed) for seed in (0, 1))
    content = {'model': trained.model.state_dict() | {'lm_head.weight': torch.ones(999, 24)}}
    assert 'it holds a BEiT' in refusal(moco_vit(arch=dict(num_layers=2)), content, tmp_path)
    report = load_pretrained(fresh, tmp_path / 'weights.pth')
    assert (report.complete, report.heads) == (True, ('lm_head.weight',))
    torch.testing.assert_close(fresh.state_dict(), trained.state_dict(), rtol=0, atol=0)


def test_heads_are_left_out_and_listed(tmp_path):
    torch.save(FILES['timm training'][0], tmp_path / 'file.pth')
    report = load_pretrained(moco_vit(), tmp_path / 'file.pth')
    assert report.heads == ('head.weight', 'head.bias')
    assert 'heads          2  head.weight, head.bias' in report.table()


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'backbone.model.'])
def test_timm_backbone_takes_and_gives_timm_names(prefix, tmp_path):
    build = dict(patch_size=8, embed_dim=24, depth=3, num_heads=2, mlp_ratio=2, img_size=32)
    backbone = TimmBackbone('vit_small_patch16_224', **build).eval()
    torch.save({'state_dict': prefixed(prefix, timm_names(RIGHT))}, tmp_path / 'file.pth')
    assert load_pretrained(backbone, tmp_path / 'file.pth').filled == 1
    images = torch.randn(2, 3, 32, 32)
    cls_token = RIGHT(images)[0][:, 0]
    torch.testing.assert_close(backbone(images)[0], cls_token, rtol=1e-5, atol=1e-5)
    # Its own training checkpoint into mmpretrain's encoder, the prefix found and told.
    torch.save({'state_dict': under('backbone.', backbone)}, tmp_path / 'own.pth')
    for told in (None, 'backbone.'):
        fresh = moco_vit()
        assert load_pretrained(fresh, tmp_path / 'own.pth', prefix=told).complete
        torch.testing.assert_close(fresh(images)[0][:, 0], cls_token, rtol=1e-5, atol=1e-5)


def test_families_without_a_table_are_filled_from_their_own_names(tmp_path):
    build = dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    trained, fresh = (TimmBackbone('convnext_atto', **build) for _ in range(2))
    state = under('backbone.', trained) | under('momentum_encoder.module.0.', fresh)
    torch.save({'state_dict': state, 'meta': META}, tmp_path / 'file.pth')
    report = load_pretrained(fresh, tmp_path / 'file.pth')
    assert report.complete
    torch.testing.assert_close(fresh.state_dict(), trained.state_dict(), rtol=0, atol=0)
    # A published file of the same model, with a classifier.
    fresh = TimmBackbone('convnext_atto', **build)
    torch.save(trained.model.state_dict() | {'head.fc.weight': torch.ones(5, 8)}, tmp_path / 'timm.pth')
    report = load_pretrained(fresh, tmp_path / 'timm.pth')
    assert (report.complete, report.heads) == (True, ('model.head.fc.weight',))


def refusal(encoder: nn.Module, content: dict, tmp_path, **kwargs) -> str:
    """The error's first line; the encoder must be as before."""
    path = tmp_path / 'weights.pth'
    torch.save(content, path)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(encoder, path, **kwargs)
    torch.testing.assert_close(dict(encoder.state_dict()), before, rtol=0, atol=0)
    line = str(caught.value).splitlines()[0]
    assert str(path) in line
    return line


@pytest.mark.parametrize(
    ('encoder', 'content', 'parts'),
    [
        (
            moco_vit,
            timm_names(moco_vit(arch=dict(embed_dims=32))),
            ['of another kind or size: ', '% of its parameters would be filled'],
        ),
        (moco_vit, timm_names(SWIN), ['it holds a Swin', 'timm names', 'another kind of encoder than MoCoV3ViT']),
        (
            moco_vit,
            under('', moco_vit(arch=dict(num_layers=2))),
            ['of another kind or size: ', '100.0% of the file used'],
        ),
        (
            moco_vit,
            under('', moco_vit(arch=dict(num_layers=5))),
            ['of another kind or size: 100.0% of its parameters'],
        ),
        (moco_vit, {'head.weight': torch.ones(2)}, ['no known encoder', 'head. (1)']),
        (moco_vit, {'epoch': 3}, ['no tensors', "'epoch'"]),
        (
            moco_vit,
            {'state_dict': under('a.', RIGHT) | under('b.', WRONG)},
            ['several encoders', 'state_dict.a., state_dict.b.', '--prefix'],
        ),
        (moco_vit, under('', RIGHT) | {'ln1.bias': torch.full((24,), torch.nan)}, ['NaN', 'ln1.bias', 'diverged']),
        (
            moco_vit,
            mm(state_dict=under('backbone.', RIGHT))
            | {'meta': {'cfg': "model = dict(backbone=dict(type='MoCoV3ViT', arch=dict(num_heads=4)))"}},
            ['trained with 4 attention heads', 'has 2'],
        ),
        (lambda: timm_swin(window_size=4), timm_names(RIGHT), ['it holds a ViT', 'SwinTransformer']),
        (mmseg_vit, RESNET.state_dict(), ['it holds a ResNet']),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(encoder, content, parts, tmp_path):
    message = refusal(encoder(), content, tmp_path)
    for part in parts:
        assert part in message


def test_windows_of_another_library(tmp_path):
    torch.save(timm_names(SWIN), tmp_path / 'swin.pth')
    report = load_pretrained(mm_swin(window_size=2), tmp_path / 'swin.pth')
    assert (report.complete, report.filled, len(report.resized)) == (True, 1.0, 5)
