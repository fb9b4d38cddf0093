"""Names of encoders, what they are built from, and how images are normalised."""

import re

import pytest
import timm
import torch
from fixtures.encoders import filled
from fixtures.models import MEAN, STD
from mmengine.config import Config
from torch.testing import assert_close

from repre_mm.checkpoint import CheckpointError
from repre_mm.evaluation import EncoderName, EvaluationError, global_features, load_frozen_encoder
from repre_mm.utils.errors import UserError

BACKBONE = """dict(
    type='MoCoV3ViT', img_size=32, patch_size=8,
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48))"""
NORMALISATION = 'dict(mean=[120.0, 115.0, 100.0], std=[58.0, 57.0, 56.0])'
IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def load(*words, **options):
    return load_frozen_encoder(EncoderName.parse([str(word) for word in words]), **options)


def named(text, weights='random', **options):
    return load_frozen_encoder(EncoderName(Config.fromstring(text, '.py'), str(weights)), **options)


NAMES = [
    (['a/b.py', 'epoch_1.pth'], 'a/b.py', 'epoch_1.pth'),
    (['a/b.py', 'random'], 'a/b.py', 'random'),
    (['a/b.py:c:d.pth'], 'a/b.py', 'c:d.pth'),
    (['timm:vit_tiny_patch16_224,depth=2:x.pth'], 'timm:vit_tiny_patch16_224,depth=2', 'x.pth'),
    (['timm:vit_tiny_patch16_224', 'x.pth'], 'timm:vit_tiny_patch16_224', 'x.pth'),
    (['timm:vit_tiny_patch16_224'], 'timm:vit_tiny_patch16_224', 'random'),
    (['dino.pth'], None, 'dino.pth'),
]


def test_names():
    for words, model, weights in NAMES:
        assert EncoderName.parse(words) == EncoderName(model, weights)
    for words in (['a.py'], ['random'], ['timm:'], ['timm:vit:'], ['a.py:'], ['a', 'b', 'c'], ['']):
        with pytest.raises(EvaluationError, match=r'write CONFIG CHECKPOINT|name its checkpoint too'):
            EncoderName.parse(words)


def test_random_encoder_depends_on_the_seed_alone(config):
    torch.manual_seed(1)
    first = load(config, 'random', seed=0)
    drawn = torch.rand(3)
    second, other = load(config, 'random', seed=0), load(config, 'random', seed=1)
    assert_close(first.module.state_dict(), second.module.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.module.layers[0].attn.qkv.weight, other.module.layers[0].attn.qkv.weight)
    torch.manual_seed(1)
    assert_close(torch.rand(3), drawn)  # the caller's random stream was not touched
    assert (first.mean, first.std, first.image_size) == ([120.0, 115.0, 100.0], [58.0, 57.0, 56.0], 32)
    assert not first.module.training
    assert not any(parameter.requires_grad for parameter in first.module.parameters())


@pytest.mark.parametrize(
    'model',
    [
        f'dict(type="MoCoV3", backbone={BACKBONE}, data_preprocessor={NORMALISATION})',
        f'dict(algorithm=dict(backbone={BACKBONE}, data_preprocessor={NORMALISATION}))',
        f'dict(backbone={BACKBONE})\ndata_preprocessor = {NORMALISATION}',
    ],
)
def test_encoder_and_normalisation_are_found(model, tmp_path):
    text = f'image_size = 32\nmodel = {model}'
    trained = named(text, seed=5).module
    tensors = {f'backbone.{name}': value for name, value in trained.state_dict().items()}
    torch.save({'state_dict': tensors, 'meta': {}}, tmp_path / 'epoch_1.pth')
    encoder = named(text, tmp_path / 'epoch_1.pth')
    assert_close(encoder.module.state_dict(), trained.state_dict(), rtol=0, atol=0)
    assert encoder.mean == [120.0, 115.0, 100.0]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(type="MoCoV3")', 'model.backbone'),
        (f'model = dict(backbone={BACKBONE})', 'no mean and std'),
        (f'model = dict(backbone={BACKBONE}, data_preprocessor={NORMALISATION})', 'image_size'),
    ],
)
def test_unusable_configs(text, message):
    with pytest.raises(UserError, match=message):
        named(text)


def test_wrong_names(tmp_path):
    with pytest.raises(EvaluationError, match='random weights have neither'):
        load('timm:vit_tiny_patch16_224', network='target')
    torch.save(filled(timm.create_model('resnet18', num_classes=0)).state_dict(), tmp_path / 'resnet.pth')
    with pytest.raises(EvaluationError, match='does not tell its model'):
        load(tmp_path / 'resnet.pth')
    with pytest.raises(UserError, match='there is no config'):
        load('none.py', 'random')
    with pytest.raises(CheckpointError, match='there is no checkpoint'):
        load('timm:vit_tiny_patch16_224', tmp_path / 'none.pth')
    with pytest.raises(EvaluationError, match='no OPTION=VALUE'):
        load('timm:vit_tiny_patch16_224,depth')


def dino_release(path, student, teacher):
    """A file laid out as facebookresearch/dino's main_dino.py saves it."""
    names = {'student': 'module.backbone.', 'teacher': 'backbone.'}
    networks = {'student': student, 'teacher': teacher}
    torch.save(
        {key: {names[key] + name: value for name, value in net.state_dict().items()} for key, net in networks.items()},
        path,
    )
    return path


@pytest.fixture(scope='module')
def dino(tmp_path_factory):
    """DINO's layout at the size of ViT-Ti, student and teacher."""
    networks = [filled(timm.create_model('vit_tiny_patch16_224', num_classes=0), seed=seed) for seed in (1, 2)]
    return dino_release(tmp_path_factory.mktemp('dino') / 'dino.pth', *networks), *networks


def test_released_file_by_every_name(dino):
    path, student, teacher = dino
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    config = Config.fromstring(
        "image_size = 224\nmodel = dict(backbone=dict(type='VisionTransformer', arch='deit-t', img_size=224, "
        'patch_size=16))\ndata_preprocessor = dict(mean=[1, 2, 3], std=[4, 5, 6])',
        '.py',
    )
    names = [EncoderName(None, str(path)), EncoderName('timm:vit_tiny_patch16_224', str(path))]
    names.append(EncoderName(config, str(path)))
    for name in names:
        encoder = load_frozen_encoder(name)
        assert re.match(r'target \(teacher\), as DINO.*s authors evaluate', encoder.network)
        assert (encoder.mean, encoder.std) == (list(MEAN), list(STD))  # the release's, whatever the config says
        with torch.no_grad():
            inputs = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
            assert_close(
                global_features(encoder.module, encoder.normalised(images)), teacher(inputs), atol=1e-4, rtol=1e-4
            )
            online = load_frozen_encoder(name, network='online')
            assert_close(
                global_features(online.module, online.normalised(images)), student(inputs), atol=1e-4, rtol=1e-4
            )


def test_size_of_a_timm_model():
    encoder = load('timm:vit_tiny_patch16_224,depth=1', size=64)
    assert encoder.image_size == 64 and encoder.module.model.pos_embed.shape[1] == 17
    assert load('timm:resnet18', size=64).image_size == 64
    assert load('timm:vit_tiny_patch16_224,depth=1,img_size=32').image_size == 32
