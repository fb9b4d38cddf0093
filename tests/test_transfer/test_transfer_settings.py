"""What the command line says of data, classes and sizes is written into the config, or refused."""

from pathlib import Path

import pytest
from fixtures.transfer import DETECTION, SEGMENTATION, make_scenes, transfer_config
from mmengine.config import Config

from repre_mm.datasets.listing import DatasetError
from repre_mm.transfer.settings import set_up_transfer
from repre_mm.utils.errors import UserError


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp('scenes'))


def test_image_size(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'det')
    set_up_transfer(cfg, image_size=[96, 160])
    scales = [step.scale for step in cfg.train_dataloader.dataset.pipeline if step.type == 'Resize']
    assert scales == [(160, 96)]
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'seg')
    set_up_transfer(cfg, image_size=[64])
    assert (cfg.model.data_preprocessor.size, cfg.model.backbone.img_size) == ((64, 64), (64, 64))
    assert [step.crop_size for step in cfg.train_dataloader.dataset.pipeline if 'crop_size' in step] == [(64, 64)]
    with pytest.raises(ValueError, match='must be multiples of the patch size, 8'):
        set_up_transfer(cfg, image_size=[60])


def test_missing_data_ends_before_anything_is_built(tmp_path):
    with pytest.raises(DatasetError, match=r'/coco does not exist. Name yours with --data'):
        transfer_config(DETECTION, tmp_path, tmp_path / 'run')
    with pytest.raises(DatasetError, match=r'/cityscapes/leftImg8bit/train does not exist. Name yours with --data'):
        transfer_config(SEGMENTATION, tmp_path, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_one_size_is_no_answer_to_several(scenes, tmp_path):
    path = Path(__file__).parents[2] / 'configs/transfer/coco/mask-rcnn_swin-tiny_fpn_8xb2-ms-crop-1x_coco.py'
    with pytest.raises(UserError, match=r'--image-size: .*ms-crop-1x_coco\.py draws from several sizes'):
        set_up_transfer(Config.fromfile(path), str(scenes / 'coco'), image_size=[96])
