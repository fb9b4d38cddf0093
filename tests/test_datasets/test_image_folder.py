"""Image folders: what is found, how it is labelled, what happens to damaged files."""

import logging
import os

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from repre_mm.datasets import DatasetError, ImageFolder, ImageReadError
from repre_mm.registry import DATASETS

LOAD = [{'type': 'repre_mm.LoadImage'}]


def put(root, *names, broken=()):
    """Write one small PNG per name; those in ``broken`` hold text."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in broken:
            path.write_text('no image')
        else:
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path, format='PNG')
    return root


def relative_paths(dataset, root):
    return [os.path.relpath(dataset.get_data_info(i)['img_path'], root) for i in range(len(dataset))]


@pytest.fixture
def log(monkeypatch):
    """What goes to the log: a list of (level, message)."""
    lines = []
    for module in ('image_folder', 'labels'):
        monkeypatch.setattr(
            f'repre_mm.datasets.{module}.print_log',
            lambda message, logger=None, level=logging.INFO: lines.append((level, message)),
        )
    return lines


def test_class_folders_become_labels(tmp_path, log):
    put(tmp_path, 'train/dog/1.png', 'train/cat/deep/2.png', 'train/cat/3.png', 'val/cat/4.png')
    dataset = ImageFolder(tmp_path, split='train')
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    infos = [dataset.get_data_info(i) for i in range(3)]
    assert [info['gt_label'] for info in infos] == [0, 0, 1]
    assert infos[0]['img_path'] == str(tmp_path / 'train/cat/3.png')
    assert infos[2]['sample_idx'] == 2
    assert log == [(logging.INFO, f'found 3 images in 2 class folders under {tmp_path}/train')]


def test_labels_auto_needs_two_folders_and_no_strays(tmp_path, log):
    assert 'classes' not in ImageFolder(put(tmp_path / 'one', 'cat/1.png')).metainfo
    assert log == [(logging.INFO, f'found 1 image under {tmp_path}/one')]
    stray = put(tmp_path / 'stray', 'cat/1.png', 'dog/2.png', '3.png')
    assert 'gt_label' not in ImageFolder(stray).get_data_info(0)
    assert len(ImageFolder(stray)) == 3
    with pytest.raises(DatasetError, match=r'labels=True .*3\.png lies outside'):
        ImageFolder(stray, labels=True)
    assert ImageFolder(tmp_path / 'one', labels=True).metainfo['classes'] == ('cat',)


def test_labels_off_and_splits_that_are_no_classes(tmp_path, log):
    put(tmp_path, 'train/1.png', 'val/2.png')
    dataset = ImageFolder(tmp_path, labels=False)
    assert 'classes' not in dataset.metainfo
    with pytest.raises(DatasetError, match='no labels'):
        dataset.get_cat_ids(0)
    log.clear()
    assert 'classes' not in ImageFolder(tmp_path).metainfo
    assert log[0] == (logging.WARNING, f'reading train, val of {tmp_path} together: split=None')


def test_given_classes_fix_the_labels(tmp_path):
    put(tmp_path, 'b/1.png', 'd/2.png')
    dataset = ImageFolder(tmp_path, metainfo={'classes': ('d', 'c', 'b', 'a')})
    assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [2, 0]
    assert dataset.metainfo['classes'] == ('d', 'c', 'b', 'a')
    with pytest.raises(DatasetError, match=r"d/2\.png is of class 'd', which is not among the 2 classes"):
        ImageFolder(tmp_path, metainfo={'classes': ('a', 'b')})


def test_splits(tmp_path):
    flat = put(tmp_path / 'flat', '1.png')
    assert len(ImageFolder(flat, split='train')) == 1
    with pytest.raises(DatasetError, match=f"split='val': there is no folder {flat}/val"):
        ImageFolder(flat, split='val')
    half = put(tmp_path / 'half', 'val/1.png')
    with pytest.raises(DatasetError, match="split='train': there is no folder"):
        ImageFolder(half, split='train')


def test_faults_of_the_folder(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match=f'no such folder: {tmp_path}/a/b .*nearest that exists is {tmp_path}'):
        ImageFolder(tmp_path / 'a' / 'b')
    (tmp_path / 'file').touch()
    with pytest.raises(DatasetError, match='not a folder but a file'):
        ImageFolder(tmp_path / 'file', split='train')
    (tmp_path / 'texts').mkdir()
    with pytest.raises(DatasetError, match='found no files at all'):
        ImageFolder(tmp_path / 'texts')
    for number in range(12):
        (tmp_path / 'texts' / f'{number}.txt').touch()
    with pytest.raises(DatasetError, match=r'no images under .*looked for \.jpg .*found 12 \.txt files'):
        ImageFolder(tmp_path / 'texts')

    def refuse(path):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(DatasetError, match=f'permission denied: cannot list the folder {tmp_path}.*make it readable'):
        ImageFolder(tmp_path)


def test_faults_of_the_arguments(tmp_path):
    put(tmp_path, '1.png')
    with pytest.raises(DatasetError, match=r"labels='yes': must be"):
        ImageFolder(tmp_path, labels='yes')
    with pytest.raises(DatasetError, match=r'max_bad_share=2: must'):
        ImageFolder(tmp_path, max_bad_share=2)


def test_bad_file_is_replaced_and_logged_once(tmp_path, log):
    names = [f'{number:03}.png' for number in range(20)]
    put(tmp_path, *names, broken=['004.png'])
    dataset = ImageFolder(tmp_path, pipeline=LOAD)
    first = dataset[4]
    assert first['img'].shape == (4, 4, 3)
    assert first['sample_idx'] != 4
    assert first['img'][0, 0, 0] == first['sample_idx']  # it is what its index says: pixels and path of one image
    assert dataset[4]['sample_idx'] == first['sample_idx']
    assert dataset[3]['sample_idx'] == 3
    errors = [message for level, message in log if level == logging.ERROR]
    assert len(errors) == 1
    assert f'{tmp_path}/004.png: not an image' in errors[0]


def test_bad_files_up_to_the_share_are_borne(tmp_path, log):
    names = [f'{number:03}.png' for number in range(40)]
    put(tmp_path, *names, broken=names[:4])
    dataset = ImageFolder(tmp_path, pipeline=LOAD, max_bad_share=0.1)
    for _ in range(3):
        assert len([dataset[i] for i in range(40)]) == 40
    assert sum(level == logging.ERROR for level, _ in log) == 4
    names = [f'{number:03}.png' for number in range(120)]
    put(tmp_path / 'more', *names, broken=names[::4])
    dataset = ImageFolder(tmp_path / 'more', pipeline=LOAD)
    reached = 0
    with pytest.raises(DatasetError, match=r'of 1\d\d images read .*max_bad_share=0\.1.*The last: .*png: not an image'):
        for reached in range(120):
            dataset[reached]
    assert reached >= 70  # not before a hundred reads, replacements included


def test_nothing_readable_stops(tmp_path, log):
    names = [f'{number:03}.png' for number in range(110)]
    put(tmp_path, *names, broken=names)
    with pytest.raises(DatasetError, match='4 images in a row'):
        ImageFolder(tmp_path, pipeline=LOAD, max_refetch=3)[0]


def test_test_mode_replaces_nothing(tmp_path):
    put(tmp_path, '1.png', '2.png', broken=['1.png'])
    dataset = ImageFolder(tmp_path, pipeline=LOAD, test_mode=True)
    assert dataset[1]['sample_idx'] == 1
    with pytest.raises(ImageReadError, match=r'1\.png'):
        dataset[0]


def test_registry_indices_and_wrapper(tmp_path):
    put(tmp_path, *(f'a/{i}.png' for i in range(6)), 'b/6.png')
    config = {'type': 'repre_mm.ImageFolder', 'root': str(tmp_path), 'pipeline': LOAD}
    assert len(DATASETS.build(dict(config, indices=3))) == 3
    dataset = DATASETS.build(config)
    assert relative_paths(dataset, tmp_path)[-1] == 'b/6.png'
    assert dataset.get_cat_ids(6) == [1]
    assert len(ClassBalancedDataset(dataset, oversample_thr=0.5)) > 7


def test_two_view_pipeline_collates(tmp_path):
    pytest.importorskip('mmpretrain')
    import mmpretrain.datasets  # noqa: F401  (registers its transforms)

    put(tmp_path, 'a/1.png', 'a/2.png', 'b/3.png')
    view = [
        {'type': 'mmpretrain.RandomResizedCrop', 'scale': 8},
        {'type': 'mmpretrain.RandomFlip', 'prob': 0.5},
    ]
    pipeline = [
        *LOAD,
        {'type': 'mmpretrain.MultiView', 'num_views': [1, 1], 'transforms': [view, view]},
        {'type': 'mmpretrain.PackInputs'},
    ]
    dataset = ImageFolder(tmp_path, pipeline=pipeline)
    from mmengine.dataset import default_collate

    batch = next(iter(DataLoader(dataset, batch_size=3, collate_fn=default_collate)))
    assert [view.shape for view in batch['inputs']] == [(3, 3, 8, 8)] * 2
    assert batch['inputs'][0].dtype == torch.uint8
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [0, 0, 1]


def test_workers_count_bad_files_together(tmp_path):
    names = [f'{number:03}.png' for number in range(60)]
    put(tmp_path, *names, broken=names[:7])
    loader = DataLoader(
        ImageFolder(tmp_path, pipeline=LOAD, max_bad_share=0.1),
        batch_size=1,
        num_workers=2,
        sampler=[*range(7, 60), *range(7)],  # the seventh, found by whichever worker, is one too many
        collate_fn=pseudo_collate,
    )
    with pytest.raises(DatasetError, match='7 of 60 images read'):
        list(loader)
