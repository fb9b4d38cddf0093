"""Sides of the views that a pipeline gives."""

from pathlib import Path

import pytest
from mmengine.config import Config

from repre_mm.datasets import DatasetError, view_sizes

CONFIGS = Path(__file__).parents[2] / 'configs/pretrain'


def test_sizes_of_the_views():
    cfg = Config.fromfile(CONFIGS / 'dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py')
    assert view_sizes(cfg.train_dataloader.dataset.pipeline) == [224, 224] + 8 * [96]
    with pytest.raises(DatasetError, match=r'no dict\(type=.MultiView'):
        view_sizes([dict(type='PackInputs')])
    with pytest.raises(DatasetError, match=r'no dict\(type=.MultiView.*RandomResizedCrop'):
        view_sizes([dict(type='MultiView', num_views=[1], transforms=[[dict(type='RandomFlip')]])])
