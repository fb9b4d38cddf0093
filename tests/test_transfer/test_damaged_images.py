"""LoadImage and LoadLabelMap in mmdet and mmseg: training passes over damaged files and names them, a test stops."""

import logging
from typing import NamedTuple

import cv2
import pytest
from fixtures.transfer import DETECTION, SEGMENTATION, make_scenes, transfer_config
from mmengine.registry import DATASETS, DefaultScope

from repre_mm.datasets import ImageReadError


class Case(NamedTuple):
    config: object
    folder: str
    key: str  # the attribute of a sample that has the path


CASES = {
    'detection': Case(DETECTION, 'coco/{}2017', 'img_path'),
    'segmentation': Case(SEGMENTATION, 'cityscapes/leftImg8bit/{}', 'img_path'),
    'labels': Case(SEGMENTATION, 'cityscapes/gtFine/{}', 'seg_map_path'),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


def first(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())[0]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # OpenCV alone would give half an image
    return str(path)


def build(cfg, split):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def test_training_takes_another_image_and_a_test_stops(case, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'repre_mm.datasets.loading.print_log', lambda message, logger, level: lines.append((level, message))
    )
    scenes = make_scenes(tmp_path / 'scenes', train=4)
    cfg = transfer_config(case.config, scenes, tmp_path / 'run')
    dataset = build(cfg, 'train')
    path = cut(first(scenes / case.folder.format('train')))
    read = [getattr(dataset[index]['data_samples'], case.key) for index in range(len(dataset))]
    assert len(read) == 4
    assert path not in read
    assert {level for level, _ in lines} == {logging.ERROR}
    assert lines[0][1].startswith(f'cannot read image {path}: ')
    assert lines[0][1].endswith('; another image takes its place')

    dataset = build(cfg, 'val')
    path = cut(first(scenes / case.folder.format('val')))
    with pytest.raises(ImageReadError, match=path):
        dataset[0]


def test_labels_of_another_size_are_refused(tmp_path):
    scenes = make_scenes(tmp_path / 'scenes')
    dataset = build(transfer_config(SEGMENTATION, scenes, tmp_path / 'run'), 'val')
    path = str(first(scenes / 'cityscapes/gtFine/val'))
    labels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    cv2.imwrite(path, labels[:-1])
    height, width = labels.shape
    expected = rf'{path}: labels of shape \({height - 1}, {width}\) do not fit their image of \({height}, {width}\)'
    with pytest.raises(ImageReadError, match=expected):
        dataset[0]
