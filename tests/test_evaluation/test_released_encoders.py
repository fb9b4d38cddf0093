"""Released files through ``repre_mm/evaluation/encoders.py``: the features of their authors' code, by every name."""

import pytest
import torch
from fixtures import released
from fixtures.released import assert_golden
from mmengine.config import Config

from repre_mm.checkpoint import identify
from repre_mm.evaluation import EncoderName, global_features, load_frozen_encoder

QUICK = ('DINO ViT-S/16',)


@pytest.mark.parametrize(
    'name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in released.names()]
)
def test_features_are_those_of_the_authors_code(name, tmp_path):
    checkpoint, golden = released.released_file(name), released.features(name)['encoder']
    torch.save(checkpoint, tmp_path / 'file.pth')
    path, release = str(tmp_path / 'file.pth'), identify(checkpoint)
    backbone = {'type': 'repre_mm.TimmBackbone', 'model_name': release.architecture, **release.options}
    # A normalisation that is not the release's, which counts.
    preprocessor = {'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0]}
    config = Config({'image_size': 224, 'model': {'backbone': backbone}, 'data_preprocessor': preprocessor})
    for model in (None, f'timm:{release.architecture}', config):
        encoder = load_frozen_encoder(EncoderName(model, path))
        if release.default == 'target' and 'online' in release.prefixes:
            assert 'authors evaluate' in encoder.network
        assert_golden(global_features(encoder.module, encoder.normalised(released.image())), golden)
