"""The timm adapter against timm's own features, and inside the algorithms that use it."""

import pytest
import timm
import torch
from fixtures.models import MEAN, STD, SWIN, VIT, make_views, mlp
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from packaging.version import Version
from torch import nn

from repre_mm.checkpoint import load_pretrained
from repre_mm.evaluation import global_features
from repre_mm.models import EncoderLevels, LevelTap, TimmBackbone
from repre_mm.registry import MODELS

TINY_VIT = dict(depth=5, embed_dim=32, num_heads=2, dynamic_img_size=True)
TINY_SWIN = dict(
    img_size=64, window_size=4, embed_dim=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2), dynamic_img_size=True
)
PYRAMID = [(4, 4), (8, 8), (16, 16), (32, 32)]
#: For other sizes of Swin, and for models that older versions do not have.
needs_new_timm = pytest.mark.skipif(Version(timm.__version__) < Version('1.0.31'), reason='needs timm 1.0.31')

# name: (timm's name, options, channels, strides)
FAMILIES = {
    'vit': ('vit_tiny_patch16_224', dict(TINY_VIT, img_size=64, patch_size=8), [32] * 5, [(8, 8)] * 5),
    'vit, average-pooled': ('test_vit', dict(TINY_VIT, global_pool='avg'), [32] * 5, [(16, 16)] * 5),
    'vit, no extra token': ('test_vit_relpos', dict(img_size=(64, 96)), [96] * 9, [(16, 16)] * 9),
    'deit, two tokens': ('deit_tiny_distilled_patch16_224', TINY_VIT, [32] * 5, [(16, 16)] * 5),
    'vit, registers': ('vit_small_patch14_reg4_dinov2', dict(TINY_VIT, patch_size=16), [32] * 5, [(16, 16)] * 5),
    'swin': ('swin_tiny_patch4_window7_224', TINY_SWIN, [16, 32, 64, 128], PYRAMID),
    'swin v2': ('swinv2_tiny_window8_256', TINY_SWIN, [16, 32, 64, 128], PYRAMID),
    'convnext': ('test_convnext', {}, [24, 32, 48, 64], PYRAMID),
    'pvt v2': ('pvt_v2_b0', {}, [32, 64, 160, 256], PYRAMID),
    'resnet': ('test_resnet', {}, [32, 48, 192, 96], PYRAMID),  # without the stem's map of stride 2
    'efficientnet': ('test_efficientnet', {}, [24, 32, 48, 64], PYRAMID),
}


def check_against_timm(backbone: TimmBackbone, images: torch.Tensor) -> EncoderLevels:
    """The vector and every level of one forward, to exact equality; timm's stem level, if any, comes first."""
    backbone.eval()
    levels = backbone.encoder_levels()
    with torch.no_grad():
        with LevelTap().open(backbone, range(len(levels)), images, need_grad=False) as maps:
            outputs = backbone(images)
        expected = backbone.model.forward_intermediates(images, norm=False, intermediates_only=True, output_fmt='NCHW')
        vector = backbone.model.forward_head(backbone.model.forward_features(images), pre_logits=True)
    assert len(outputs) == 1
    assert torch.equal(outputs[0], vector)
    assert vector.shape == (len(images), backbone.embed_dims)
    for index, level in enumerate(expected[-len(levels) :]):
        assert torch.equal(maps[index], level), index
        stride = levels.strides[index]
        assert level.shape[1] == levels.channels[index]
        assert level.shape[-2:] == (images.shape[-2] // stride[0], images.shape[-1] // stride[1])
    return levels


NEW = ('vit, no extra token', 'swin', 'swin v2')


@pytest.mark.parametrize(
    'family', [pytest.param(family, marks=[needs_new_timm] if family in NEW else []) for family in FAMILIES]
)
def test_levels_and_vector_are_timms_own(family):
    name, options, channels, strides = FAMILIES[family]
    levels = check_against_timm(TimmBackbone(name, **options), torch.randn(2, 3, 64, 96))
    assert list(levels.channels) == channels
    assert list(levels.strides) == strides


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'vit_small_patch16_224',
        'deit_tiny_distilled_patch16_224',
        'vit_small_patch14_reg4_dinov2',
        'deit3_small_patch16_224',
        'eva02_tiny_patch14_224',
        'swin_tiny_patch4_window7_224',
        'swinv2_tiny_window8_256',
        'swinv2_cr_tiny_224',
        'convnext_tiny',
        'convnextv2_atto',
        'pvt_v2_b2',
        'resnet50',
        'regnetx_002',
        'mobilenetv3_small_050',
        'poolformer_s12',
        'focalnet_tiny_srf',
        'maxvit_tiny_tf_224',
        'cait_xxs24_224',
        'mixer_s16_224',
    ],
)
def test_full_size_models(name):
    backbone = TimmBackbone(name)
    size = backbone.model.pretrained_cfg['input_size'][-1]
    check_against_timm(backbone, torch.randn(1, 3, size, size))


@pytest.mark.parametrize(('family', 'size'), [('vit', 48), pytest.param('swin', 96, marks=needs_new_timm)])
def test_crops_of_several_sizes(family, size):
    name, options, *_ = FAMILIES[family]
    backbone = TimmBackbone(name, **options)
    for height, width in ((64, 64), (size, size), (size, 64)):
        check_against_timm(backbone, torch.randn(1, 3, height, width))


def mocov3(backbone: dict, width: int) -> dict:
    head = dict(
        type='repre_mm.MoCoV3Head',
        predictor=mlp(16, 2, with_avg_pool=False),
        loss=dict(type='CrossEntropyLoss', loss_weight=0.4),
        temperature=0.2,
    )
    return dict(type='MoCoV3', backbone=backbone, neck=mlp(width, 3, with_avg_pool=False), head=head)


def simclr(backbone: dict, width: int) -> dict:
    head = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.1)
    return dict(type='SimCLR', backbone=backbone, neck=mlp(width, 2, with_avg_pool=False), head=head)


def repre(algorithm, family: str, **options) -> nn.Module:
    name, defaults, *_ = FAMILIES[family]
    cfg = dict(type='repre_mm.TimmBackbone', model_name=name, **defaults, **options)
    width = TimmBackbone(name, **defaults).embed_dims
    algorithm = dict(algorithm(cfg, width), data_preprocessor=dict(mean=MEAN, std=STD))
    return MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))


@pytest.mark.parametrize('family', ['vit', 'deit, two tokens', 'swin', 'resnet'])
@pytest.mark.parametrize('algorithm', [mocov3, simclr])
def test_repre_trains_it_without_a_second_pass(family, algorithm):
    model = repre(algorithm, family)
    model.init_weights()
    passes = []
    model.backbone.model.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    out = model(make_views(64), None, mode='loss')
    assert passes == ([True] * 2 if algorithm is mocov3 else [True])
    assert out['recon_l1'].isfinite()
    out['loss'].backward()
    without = [name for name, parameter in model.backbone.named_parameters() if parameter.grad is None]
    assert without == []


def test_reconstruction_alone_reaches_the_first_block_and_not_the_last_norm():
    model = repre(mocov3, 'vit')
    model.loss_weighting = MODELS.build(dict(type='repre_mm.FixedWeighting', contrast=0.0, recon=1.0))
    model(make_views(64), None, mode='loss')['loss'].backward()
    assert model.backbone.model.blocks[0].attn.qkv.weight.grad.norm() > 0
    assert model.backbone.model.norm.weight.grad.norm() == 0  # levels are taken before it


def test_too_many_levels_for_a_pyramid():
    algorithm = mocov3(dict(type='repre_mm.TimmBackbone', model_name='test_resnet'), 96)
    with pytest.raises(ValueError, match=r'num_levels=5 .* depth 4: choose 1 to 4'):
        MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm, neck=dict(num_levels=5)))


def test_init_weights_keeps_timms_initialisation():
    model = repre(mocov3, 'vit')
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    model.init_weights()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_drop_path_acts_in_train_mode_only():
    backbone = TimmBackbone('test_vit', **TINY_VIT, drop_path_rate=0.5)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(backbone.eval()(images)[0], backbone(images)[0], rtol=0, atol=0)
    backbone.train()
    assert not torch.equal(backbone(images)[0], backbone(images)[0])


def test_training_checkpoint_goes_back_into_the_adapter_and_into_timm(tmp_path):
    model = repre(mocov3, 'swin')
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    expected = model.backbone.model.state_dict()
    name, options, *_ = FAMILIES['swin']

    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    again = MODELS.build(dict(type='repre_mm.TimmBackbone', model_name=name, **options, init_cfg=init_cfg))
    again.init_weights()
    loaded = TimmBackbone(name, **options)
    assert load_pretrained(loaded, path).filled == 1
    plain = timm.create_model(name, **options, num_classes=0)
    assert load_pretrained(plain, path, prefix='backbone.model.').complete
    for state in (again.model.state_dict(), loaded.model.state_dict(), plain.state_dict()):
        assert list(state) == list(expected)
        for key, value in expected.items():
            assert torch.equal(state[key], value), key


@pytest.mark.parametrize(
    ('cfg', 'width'),
    [
        (dict(type='repre_mm.TimmBackbone', model_name='test_vit', **TINY_VIT), 32),
        (dict(type='repre_mm.TimmBackbone', model_name='test_resnet'), 96),
        (dict(type='ResNet', depth=18), 512),
        (SWIN, 128),
        (VIT, 32),
    ],
    ids=['timm vit', 'timm resnet', 'resnet', 'swin', 'vit'],
)
def test_evaluation_reads_every_kind_of_encoder(cfg, width):
    encoder = MMPRETRAIN_MODELS.build(cfg)
    encoder.train()
    images = torch.randn(2, 3, 64, 64)
    vectors = global_features(encoder, images)
    assert vectors.shape == (2, width)
    assert encoder.training
    encoder.eval()
    (output,) = encoder(images)
    torch.testing.assert_close(vectors, output if output.ndim == 2 else output.mean(dim=(2, 3)))


BAD = {
    'name': (dict(model_name='vit_smal_patch16_224'), 'Did you mean .*vit_small_patch16_224'),
    'tag': (dict(model_name='vit_tiny_patch16_224.augreg'), 'Invalid pretrained tag .*augreg_in21k'),
    'option': (dict(model_name='test_resnet', img_size=64), 'does not take .*img_size.*they take any size'),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_options(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**options)


def test_size_refused_by_the_model():
    backbone = TimmBackbone('swin_tiny_patch4_window7_224', **dict(TINY_SWIN, dynamic_img_size=False))
    with pytest.raises(ValueError, match=r'crops of 64 x 96 .*set in the backbone dynamic_img_size=True'):
        backbone(torch.randn(1, 3, 64, 96))
    backbone = TimmBackbone('test_vit', **TINY_VIT)
    with pytest.raises(ValueError, match=r'divisible by patch size.*Choose another crop'):
        backbone(torch.randn(1, 3, 60, 64))


def test_model_that_does_not_pool():
    with pytest.raises(ValueError, match=r'\[1, 5, 32\] where \(B, C\) is needed: leave global_pool out'):
        TimmBackbone('test_vit', **TINY_VIT, global_pool='')(torch.randn(1, 3, 32, 32))


def test_model_without_levels():
    backbone = TimmBackbone('test_vit', **TINY_VIT)
    backbone.model.feature_info = []
    with pytest.raises(TypeError, match="'test_vit' does not say which of its modules give its levels"):
        backbone.encoder_levels()


def heard(backbone: nn.Module) -> dict:
    images = torch.randn(2, 3, 64, 64)
    with LevelTap().open(backbone, [0, 1], images) as maps:
        backbone(images)
    return maps


def test_tokens_that_are_no_grid_are_refused():
    """Dropped tokens, and a pyramid whose tokens are in an order of their own (Hiera): never a wrong map."""
    with pytest.raises(ValueError, match=r'\[2, 9, 32\], which RePre cannot lay out as a map of 4 x 4'):
        heard(TimmBackbone('test_vit', **TINY_VIT, patch_drop_rate=0.5))
    hiera = TimmBackbone('hiera_tiny_224', img_size=64, embed_dim=24, stages=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r'\[2, 256, 24\], which RePre cannot lay out as a map of 16 x 16'):
        heard(hiera)


def test_levels_whose_modules_are_never_called():
    backbone = TimmBackbone('test_resnet')
    backbone.model.set_grad_checkpointing()  # runs the blocks of a stage, not the stage
    with pytest.raises(RuntimeError, match=r'without calling the modules of its levels \[0, 1\] \(Sequential\)'):
        heard(backbone)
