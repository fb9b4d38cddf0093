"""Detection and segmentation go on where an image is damaged, and say so; an evaluation does not."""

import logging

import pytest
from fixtures.transfer import DETECTION, SEGMENTATION, make_scenes, transfer_config
from mmengine.registry import DATASETS, DefaultScope

from repre_mm.datasets import ImageReadError

FOLDERS = {DETECTION: 'coco/{}2017', SEGMENTATION: 'cityscapes/leftImg8bit/{}'}


@pytest.fixture(params=list(FOLDERS), ids=['detection', 'segmentation'])
def config(request):
    return request.param


def cut_first(folder):
    path = sorted(path for path in folder.rglob('*') if path.is_file())[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # OpenCV alone would give half an image
    return str(path)


def build(cfg, split):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def test_another_image_takes_its_place(config, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'repre_mm.datasets.reading.print_log', lambda message, logger, level: lines.append((level, message))
    )
    scenes = make_scenes(tmp_path / 'scenes', train=4)
    path = cut_first(scenes / FOLDERS[config].format('train'))
    dataset = build(transfer_config(config, scenes, tmp_path / 'run'), 'train')
    read = [dataset[index]['data_samples'].img_path for index in range(len(dataset))]
    assert len(read) == 4
    assert path not in read
    assert {level for level, _ in lines} == {logging.ERROR}
    assert lines[0][1].startswith(f'cannot read image {path}: ')
    assert lines[0][1].endswith('; another image takes its place')


def test_an_evaluation_stops(config, tmp_path):
    scenes = make_scenes(tmp_path / 'scenes')
    path = cut_first(scenes / FOLDERS[config].format('val'))
    dataset = build(transfer_config(config, scenes, tmp_path / 'run'), 'val')
    with pytest.raises(ImageReadError, match=path):
        dataset[0]
