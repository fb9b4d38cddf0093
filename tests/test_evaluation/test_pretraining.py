"""Scores of a pre-training checkpoint: what is loaded, and the error of its reconstructions."""

import numpy as np
import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.models import VIT, mocov3
from mmengine.config import Config
from torch.testing import assert_close

from repre_mm.evaluation import EvaluationError, image_folder_loader
from repre_mm.evaluation.pretraining import evaluate_pretraining, load_repre


def _config(wrapped=True):
    plain = mocov3(VIT)
    return Config({'model': {'type': 'repre_mm.RePreAlgorithm', 'algorithm': plain} if wrapped else plain})


def test_repre_is_loaded_whole(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    model = load_repre(_config(), 'random', seed=1)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    assert_close(load_repre(_config(), path).reconstruct(images), model.reconstruct(images))
    assert not torch.equal(load_repre(_config(), 'random').reconstruct(images), model.reconstruct(images))
    with pytest.raises(EvaluationError, match=r"model\.type='MoCoV3' does not reconstruct"):
        load_repre(_config(wrapped=False), path)
    torch.save({'state_dict': model.backbone.state_dict()}, path)
    with pytest.raises(EvaluationError, match='not an exported encoder'):
        load_repre(_config(), path)


def test_scores_and_the_error_of_every_pixel(tmp_path):
    root = make_image_folder(tmp_path / 'data', train=12, val=6)
    cfg = _config()
    cfg.image_size, cfg.data_root = 32, str(root)
    model = load_repre(cfg, 'random', seed=1)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'epoch_1.pth')
    options = {'knn_options': {'k': [3]}, 'linear_options': {'epochs': 2}, 'workers': 0, 'progress': False}
    result = evaluate_pretraining(cfg, tmp_path / 'epoch_1.pth', tmp_path / 'out', **options)
    images = torch.cat([batch for batch, _ in image_folder_loader(root, 'val', 32, workers=0)])
    expected = (images / 255 - model.reconstruct(images)).abs().mean().item()
    np.testing.assert_allclose(result['recon_l1'], expected, rtol=1e-5)
    assert (tmp_path / 'out/reconstructions.png').is_file()
    assert set(result['knn']['top1']) == {3} and result['linear']['settings']['epochs'] == 2
    plain = _config(wrapped=False)
    plain.image_size, plain.data_root = 32, str(root)
    assert 'recon_l1' not in evaluate_pretraining(plain, tmp_path / 'epoch_1.pth', tmp_path / 'out', **options)
