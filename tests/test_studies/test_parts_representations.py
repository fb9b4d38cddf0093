"""Encoded, class-token and projected representations, of our own checkpoints and of releases."""

import pytest
import torch
import torch.nn.functional as F
from fixtures.encoders import DEPTH, HEADS, PATCH, WIDTH, filled, mm_vit, timm_vit
from fixtures.models import MEAN, STD, VIT, mocov3
from fixtures.parts import SIDE, make_coco
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.testing import assert_close

from repre_mm.checkpoint import CheckpointError
from repre_mm.evaluation import EncoderName, FrozenEncoder, load_frozen_encoder
from repre_mm.studies.parts.crops import Crops
from repre_mm.studies.parts.representations import (
    _neck_prefix,
    find_projector,
    load_projector,
    represent,
    represent_crops,
)
from repre_mm.utils.errors import UserError

OPTIONS = f'patch_size={PATCH},embed_dim={WIDTH},depth={DEPTH},num_heads={HEADS},mlp_ratio=2,img_size={SIDE}'
TIMM = f'timm:vit_small_patch16_224,{OPTIONS}'


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_encoded_is_the_mean_of_the_patch_tokens(images):
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, SIDE)
    found = represent(encoder, None, images)
    tokens = encoder.module(encoder.normalised(images))[0].detach()  # out_type='raw'
    assert list(found) == ['encoded', 'class token']
    assert_close(found['encoded'], F.normalize(tokens[:, 1:].mean(dim=1), dim=1))
    assert_close(found['class token'], F.normalize(tokens[:, 0], dim=1))


def _mlp(prefix: str, layers: nn.Sequential) -> dict:
    return {prefix + name: value for name, value in layers.state_dict().items()}


def _under(prefix: str, vit: nn.Module) -> dict:
    return {prefix + name: value for name, value in vit.state_dict().items()}


def _dino(path):
    """DINO's full file: student and teacher, each with its head."""
    heads = {
        name: filled(nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 8)), i)
        for i, name in enumerate(('student', 'teacher'))
    }
    vits = {name: filled(timm_vit(), seed) for seed, name in enumerate(('student', 'teacher'), 5)}
    content = {
        'student': {**_under('module.backbone.', vits['student']), **_mlp('module.head.mlp.', heads['student'])},
        'teacher': {**_under('backbone.', vits['teacher']), **_mlp('head.mlp.', heads['teacher'])},
    }
    for network, place in (('student', 'module.'), ('teacher', '')):
        content[network][f'{place}head.last_layer.weight_v'] = torch.rand(64, 8)
        content[network][f'{place}head.last_layer.weight_g'] = torch.rand(64, 1)
    torch.save(content, path)
    return vits, heads


@pytest.mark.parametrize(('network', 'whose'), [(None, 'teacher'), ('target', 'teacher'), ('online', 'student')])
def test_dinos_projection_is_that_of_the_network_the_encoder_is_from(images, tmp_path, network, whose):
    vits, heads = _dino(tmp_path / 'dino.pth')
    name = EncoderName(TIMM, str(tmp_path / 'dino.pth'))
    encoder, projector = load_frozen_encoder(name, network=network), load_projector(name, network=network)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        expected = heads[whose](vits[whose]((images - mean) / std))  # the class token
    assert_close(represent(encoder, projector, images)['projected'], F.normalize(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_mocos_projection_ends_in_a_batch_norm(images, tmp_path):
    vit = filled(timm_vit(num_heads=12), 1)
    head = filled(
        nn.Sequential(
            *(nn.Linear(WIDTH, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU()),
            *(nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU()),
            *(nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8, affine=False)),
        ),
        2,
    )
    online = {**_under('module.base_encoder.', vit), **_mlp('module.base_encoder.head.', head)}
    predictor = {'module.predictor.0.weight': torch.rand(16, 8)}
    torch.save({'state_dict': {**online, **predictor}}, tmp_path / 'moco.pth')
    name = EncoderName(TIMM.replace(f'num_heads={HEADS}', 'num_heads=12'), str(tmp_path / 'moco.pth'))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        expected = head(vit((images - mean) / std))
    found = represent(load_frozen_encoder(name), load_projector(name), images)['projected']
    assert_close(found, F.normalize(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_files_without_a_projector_are_refused(tmp_path):
    config = tmp_path / 'tiny.py'
    Config(dict(model=mocov3(VIT), image_size=32, default_scope='mmpretrain')).dump(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(Config.fromfile(config).model).state_dict()
    backbone = {key: value for key, value in state.items() if key.startswith('backbone.')}
    torch.save({'state_dict': backbone}, tmp_path / 'encoder.pth')
    with pytest.raises(UserError, match=r'encoder\.pth has no projector'):
        load_projector(EncoderName(str(config), str(tmp_path / 'encoder.pth')))
    torch.save({'state_dict': {**backbone, 'neck.fc0.weight': torch.rand(1)}}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r'other\.pth does not fit'):
        load_projector(EncoderName(str(config), str(tmp_path / 'other.pth')))
    with pytest.raises(UserError, match='has no neck'):
        load_projector(EncoderName(Config(dict(model=dict(backbone=VIT))), 'random'))
    torch.save(timm_vit().state_dict(), tmp_path / 'vit.pth')
    name = EncoderName(TIMM, str(tmp_path / 'vit.pth'))
    with pytest.raises(CheckpointError, match='projector'):
        load_projector(name)
    assert find_projector(name) is None


def test_neck_is_beside_its_encoder():
    assert _neck_prefix('backbone.') == 'neck.' and _neck_prefix(None) == 'neck.'
    assert _neck_prefix('momentum_encoder.module.0.') == 'momentum_encoder.module.1.'
    assert _neck_prefix('student.backbone.') == 'student.neck.'


def test_patches_of_a_data_set_keep_their_labels(tmp_path):
    data = make_coco(tmp_path, 3, seed=0)
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, SIDE)
    vectors, labels = represent_crops(encoder, None, Crops(data, 'part', SIDE), batch_size=4, workers=0, progress=False)
    assert labels.tolist() == [label for one in data.labels('part') for label in one]
    crops = Crops(data, 'part', SIDE)
    expected = represent(encoder, None, torch.cat([crops[i][0] for i in range(3)]))
    assert_close(vectors['encoded'], expected['encoded'])
