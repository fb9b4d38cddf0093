"""repre_mm.load_encoder and what an Encoder does, on a run of a tiny RePre training."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from fixtures.data import make_image_folder
from mmengine.config import Config
from PIL import Image
from torch import nn

import repre_mm
from repre_mm.evaluation.pretraining import load_repre
from repre_mm.utils.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp('photos'), train=3, val=2) / 'train'


@pytest.fixture(scope='module')
def run(tmp_path_factory, photos) -> Path:
    """The folder that a training leaves behind."""
    folder = tmp_path_factory.mktemp('run')
    cfg = Config.fromfile(ROOT / 'tests/fixtures/tiny_config.py')
    cfg.data_root = str(photos.parent)
    cfg.model.algorithm.backbone.out_type = 'cls_token'
    cfg.dump(folder / 'tiny_config.py')
    torch.manual_seed(0)
    weights = load_repre(cfg, 'random').state_dict()
    torch.save({'state_dict': weights, 'optimizer': {}, 'meta': {'iter': 3, 'epoch': 1}}, folder / 'epoch_1.pth')
    torch.save({'state_dict': weights, 'optimizer': {}, 'meta': {'iter': 6, 'epoch': 2}}, folder / 'epoch_2.pth')
    with (folder / 'epoch_2.pth').open('r+b') as file:  # the newest is damaged: the one before it counts
        file.truncate(1000)
    return folder


@pytest.fixture(scope='module')
def encoder(run):
    return repre_mm.load_encoder(run)


def test_every_form_of_an_image_gives_the_same_vector(encoder, photos):
    path = sorted(photos.rglob('*.*'))[0]
    image = Image.open(path).convert('RGB')
    array = np.array(image)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    vectors = encoder.embed([path, image, array, tensor, tensor / 255], progress=False)
    assert vectors.shape == (5, encoder.num_features) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, vectors[:1].expand(5, -1))
    folder = encoder.embed(photos, progress=False, batch_size=2)
    assert len(folder) == len(list(photos.rglob('*.*')))
    torch.testing.assert_close(folder[0], vectors[0])


def test_levels_are_the_four_maps_of_the_branch(encoder, photos):
    maps = encoder.levels(sorted(photos.rglob('*.*'))[0])
    assert [tuple(level.shape) for level in maps] == [(32, 4, 4)] * 4
    assert not torch.equal(maps[0], maps[-1])


def test_reconstruction_is_that_of_the_training(encoder, run, photos):
    path = sorted(photos.rglob('*.*'))[0]
    drawn = encoder.reconstruct(path)
    assert drawn.shape == (3, 32, 32) and drawn.min() >= 0 and drawn.max() <= 1
    model = load_repre(Config.fromfile(run / 'tiny_config.py'), run / 'epoch_1.pth')
    torch.testing.assert_close(drawn, model.reconstruct(encoder._one(path))[0])


def test_timm_and_mmpretrain_read_size_and_normalisation(encoder, photos):
    from mmpretrain import FeatureExtractor

    assert isinstance(encoder, nn.Module)
    data = timm.data.resolve_model_data_config(encoder)
    assert data['input_size'] == (3, 32, 32)
    path = str(sorted(photos.rglob('*.*'))[0])
    transform = timm.data.create_transform(**data)
    (by_mmpretrain,) = FeatureExtractor(encoder)(path)
    ours = encoder.embed(path, progress=False)
    torch.testing.assert_close(by_mmpretrain[0], ours[0], rtol=1e-4, atol=1e-5)
    by_timm = encoder(transform(Image.open(path).convert('RGB'))[None])
    # timm rounds the size before the crop in another way: near, not equal.
    assert torch.cosine_similarity(by_timm, ours) > 0.99


def test_export_to_timm_gives_the_same_vector(encoder, tmp_path, photos):
    meta = repre_mm.export(encoder, tmp_path / 'out', to='timm')
    assert meta['names'] == 'timm'
    options = dict(img_size=32, patch_size=8, embed_dim=32, depth=4, num_heads=2, mlp_ratio=2, num_classes=0)
    model = timm.models.VisionTransformer(**options, global_pool='token')
    model.load_state_dict(torch.load(tmp_path / 'out/encoder_timm.pth')['state_dict'])
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), encoder(images), rtol=1e-4, atol=1e-5)


def test_a_timm_model_by_its_name_has_random_weights():
    encoder = repre_mm.load_encoder('vit_tiny_patch16_224', device='cpu')
    assert (encoder.image_size, encoder.num_features) == (224, 192)
    with pytest.raises(UserError, match='nothing to export'):
        repre_mm.export(encoder, 'out')
    with pytest.raises(UserError, match='does not reconstruct'):
        encoder.reconstruct(torch.rand(3, 224, 224))


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match='holds no checkpoint of a training'):
        repre_mm.load_encoder(tmp_path)


def test_importing_the_package_imports_no_torch():
    code = 'import sys, repre_mm; assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)
