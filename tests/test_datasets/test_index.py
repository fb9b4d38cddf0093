"""The index of a place: made once, kept in a file, mapped by the others, and made anew when the place changes."""

import copy
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures.places import WRITERS
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset

from repre_mm.datasets import DatasetError, ImageFolder, index, open_source
from repre_mm.datasets.damage import check_sample
from repre_mm.datasets.sources import Source
from repre_mm.engine.checks.image_folders import count_images

KINDS = list(WRITERS)


@pytest.fixture
def work_dir(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(index, '_home', None)
    index.keep_indexes(tmp_path / 'run')
    return tmp_path / 'run'


@pytest.fixture
def listings(monkeypatch) -> list[str]:
    """Places that were listed, each time anew."""
    places, scan = [], Source.scan

    def note(self):
        places.append(self.place)
        return scan(self)

    monkeypatch.setattr(Source, 'scan', note)
    return places


def infos(dataset: ImageFolder) -> list[dict]:
    return [dataset.get_data_info(number) for number in range(len(dataset))]


@pytest.mark.parametrize('kind', KINDS)
def test_the_second_process_lists_nothing_and_finds_the_same(kind, images, tmp_path, work_dir, listings, monkeypatch):
    place = WRITERS[kind](images, tmp_path / 'copy')
    with monkeypatch.context() as patch:
        patch.setattr(index, '_home', None)
        expected = ImageFolder(place)
    first = ImageFolder(place)
    listings.clear()
    second = ImageFolder(place)
    assert not listings
    assert infos(first) == infos(second) == infos(expected)
    assert len(second) == 8 and second.metainfo == expected.metainfo
    assert second.gt_labels().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (second.source.classes, second.source.passed_over) == (expected.source.classes, expected.source.passed_over)
    assert second.source.read(second.data_list[3]) == expected.source.read(expected.data_list[3])


def test_the_labels_of_a_subset_of_classes_in_another_order(images, work_dir):
    ImageFolder(images)
    dataset = ImageFolder(images, metainfo={'classes': ('light', 'none', 'dark')})
    assert dataset.gt_labels().tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    with pytest.raises(DatasetError, match=r"light/.*\.jpg is of class 'light'"):
        ImageFolder(images, metainfo={'classes': ('dark',)})


def change_folder(place: Path) -> None:
    (place / 'dark/0.jpg').rename(place / 'dark/9.jpg')


def change_list(place: Path) -> None:
    place.write_text('dark/9.jpg\n')


@pytest.mark.parametrize(('place', 'change'), [('', change_folder), ('a.txt', change_list)])
def test_a_place_that_changed_is_listed_anew(place, change, images, work_dir):
    (images / 'a.txt').write_text('dark/0.jpg\n')
    place = images / place
    os.utime(images / 'dark', (1, 1))
    os.utime(place, (1, 1))
    assert infos(ImageFolder(place, labels=False))[0]['img_path'].endswith('dark/0.jpg')
    change(place)
    assert infos(ImageFolder(place, labels=False))[0 if place.is_file() else 3]['img_path'].endswith('dark/9.jpg')


def test_a_new_shard_of_a_pattern_is_found(images, tmp_path, work_dir):
    WRITERS['tar'](images, tmp_path / 'copy')
    assert len(ImageFolder(f'{tmp_path}/*.tar')) == 8
    WRITERS['tar'](images, tmp_path / 'more')
    assert len(ImageFolder(f'{tmp_path}/*.tar')) == 16


def test_a_server_that_shows_no_changes_is_trusted_for_an_hour(images, tmp_path, work_dir, listings, monkeypatch):
    place = WRITERS['url'](images, tmp_path / 'copy')
    ImageFolder(place)
    ImageFolder(place)
    assert len(listings) == 1 + 1  # is there an image at all?
    monkeypatch.setattr(index, '_TRUSTED', -1)
    ImageFolder(place)
    assert len(listings) == 3


def test_a_deleted_or_damaged_file_is_made_again(images, work_dir, listings):
    ImageFolder(images)
    (file,) = (work_dir / 'listings').glob('*data-train-*.index')
    for damage in (Path.unlink, lambda path: path.write_bytes(b''), lambda path: path.write_bytes(bytes(20))):
        damage(file)
        listings.clear()
        assert len(ImageFolder(images)) == 8
        assert len(listings) == 1


def test_a_folder_that_cannot_be_written(images, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(index, 'print_log', lambda message, *_: lines.append(message))
    (tmp_path / 'file').touch()
    monkeypatch.setattr(index, '_home', tmp_path / 'file/listings')  # root may write to any folder
    assert len(ImageFolder(images)) == 8
    assert lines == [
        f'cannot write to {tmp_path}/file/listings (Not a directory): each process lists {images} for itself'
    ]


def test_no_work_dir_keeps_it_in_memory_and_an_empty_place_leaves_nothing(images, tmp_path, work_dir, monkeypatch):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DatasetError, match='no images'):
        ImageFolder(tmp_path / 'empty')
    monkeypatch.setattr(index, '_home', None)
    ImageFolder(images)
    assert not work_dir.exists()


@pytest.mark.parametrize('kept', [True, False])
def test_copies_subsets_and_wrappers(kept, images, work_dir, monkeypatch):
    if not kept:
        monkeypatch.setattr(index, '_home', None)
    dataset = ImageFolder(images)
    names = [info['img_path'] for info in infos(dataset)]
    for same in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert infos(same) == infos(dataset)
    for indices, expected in ((3, names[:3]), (-2, names[-2:]), ([5, 1], [names[5], names[1]]), ([], [])):
        subset = dataset.get_subset(indices)
        assert [info['img_path'] for info in infos(subset)] == expected
        assert len(subset) == len(expected) and len(dataset) == 8
    subset = dataset.get_subset([6, 5, 1])
    subset.get_subset_([2, 0])
    assert subset.gt_labels().tolist() == [0, 1] == [subset.get_cat_ids(number)[0] for number in range(2)]
    assert [info['img_path'] for info in infos(subset)] == [names[1], names[6]]
    assert dataset.get_data_info(-1)['sample_idx'] == 7
    assert len(ConcatDataset([dataset, subset])) == 10
    assert RepeatDataset(dataset, 2).get_data_info(9)['img_path'] == names[1]
    assert ClassBalancedDataset(dataset, oversample_thr=0.6).get_cat_ids(0) == [0]


def test_names_that_are_no_utf8(tmp_path, work_dir):
    name = os.fsdecode(b'caf\xe9.png')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / name).touch()
    for _ in range(2):
        assert ImageFolder(tmp_path / 'data', labels=False).get_data_info(0)['img_path'] == f'{tmp_path}/data/{name}'


def test_checks_take_the_index(images, work_dir, listings):
    ImageFolder(images)
    listings.clear()
    check_sample(open_source(images), 0.1)
    folder = {'type': 'repre_mm.ImageFolder', 'root': str(images)}
    assert [count_images(folder, most) for most in (None, 3, 9)] == [8, 3, 8]
    assert count_images({**folder, 'indices': 5}) == 5
    assert not listings


def test_memory_of_an_image(tmp_path, work_dir):
    """43 bytes beside the header for names like ImageNet's."""
    names = [f'n{folder:08}/n{folder:08}_{image}.JPEG' for folder in range(20) for image in range(50)]
    (tmp_path / 'data.txt').write_text('\n'.join(names))
    made = index.index_images(open_source(tmp_path / 'data.txt'))
    (file,) = (work_dir / 'listings').glob('*.index')
    assert file.stat().st_size < 44 * 1000 + 1000
    assert isinstance(made._names.base, np.ndarray) and time.time() - made.header['made'] < 60
