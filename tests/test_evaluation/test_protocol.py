"""Scores by kNN and a linear probe, from a config, a checkpoint and a folder of images."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from repre_mm.checkpoint import CheckpointError
from repre_mm.evaluation import EncoderName, EvaluationError, evaluate_config, load_frozen_encoder


def _save_checkpoint(cfg: Config, path: Path) -> Path:
    encoder = load_frozen_encoder(EncoderName(cfg, 'random'), seed=5).module
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in encoder.state_dict().items()}, 'meta': {}}, path)
    return path


def test_scores_of_a_checkpoint(config, data_root, tmp_path):
    cfg = Config.fromfile(config)
    result = evaluate_config(
        cfg,
        _save_checkpoint(cfg, tmp_path / 'epoch_7.pth'),
        data_root,
        knn_options={'k': [1, 3]},
        linear_options={'epochs': 20, 'batch_size': 8},
        workers=0,
        progress=False,
    )
    assert result['knn']['top1'] == {1: 100.0, 3: 100.0}  # plain colours
    assert result['linear']['top1'] == 100.0
    assert result['linear']['top5'] is None
    assert (result['train_images'], result['val_images'], result['classes']) == (24, 9, 3)
    assert (result['config'], result['checkpoint'], result['feature_width']) == ('tiny.py', 'epoch_7.pth', 24)
    json.dumps(result)


def test_faults_show_before_images_are_read(config, data_root, tmp_path):
    cfg = Config.fromfile(config)
    with pytest.raises(EvaluationError, match='no data folder'):
        evaluate_config(cfg, 'random')
    with pytest.raises(CheckpointError, match='no checkpoint'):
        evaluate_config(cfg, tmp_path / 'epoch_9.pth', data_root)
    cfg.pop('image_size')
    with pytest.raises(EvaluationError, match='image_size'):
        evaluate_config(cfg, 'random', data_root)
