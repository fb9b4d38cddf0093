"""Every source gives the same images, in the same order, with the same labels, and names what is damaged."""

import pytest
from fixtures.places import WRITERS, paths_under, write_list, write_parquet, write_saved, write_shards
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from repre_mm.datasets import DatasetError, ImageFolder, ImageReadError, open_source

LOAD = [{'type': 'repre_mm.LoadImage'}]


@pytest.mark.parametrize('kind', [kind for kind in WRITERS if kind != 'folder'])
def test_the_same_images_from_everywhere_and_damage_named(kind, images, tmp_path):
    path = images / 'dark/2.jpg'
    path.write_bytes(path.read_bytes()[:300])
    dataset = ImageFolder(WRITERS[kind](images, tmp_path / 'copy'), pipeline=LOAD, test_mode=True)
    expected = ImageFolder(images, pipeline=LOAD, test_mode=True)
    assert len(dataset) == 8
    good = [0, 1, 3, 4, 5, 6, 7]
    loader = DataLoader(dataset, sampler=good, batch_size=7, num_workers=1, collate_fn=pseudo_collate)
    assert (dataset[7]['img'] == expected[7]['img']).all()  # read here, and then in a forked process
    (batch,) = loader
    for index, image, label in zip(good, batch['img'], batch['gt_label'], strict=True):
        assert (image == expected[index]['img']).all()
        assert label == expected[index]['gt_label']
    numbers = kind == 'csv'
    assert dataset.metainfo['classes'] == (('0', '1') if numbers else ('dark', 'light'))
    name = {
        'tar': f'{tmp_path}/copy-000.tar:000002.jpg',
        'parquet': f'{tmp_path}/copy.parquet:2',
        'saved': f'{tmp_path}/copy:2',
        'lmdb': f'{tmp_path}/copy.lmdb/dark/2.jpg',
        'url': f'memory:/{tmp_path}/copy/dark/2.jpg',
    }.get(kind, str(path))
    with pytest.raises(ImageReadError, match=f'cannot read image {name}: '):
        dataset[2]


@pytest.mark.parametrize('kind', ['saved', 'folder of Parquet files', 'nothing'])
def test_data_sets_by_their_name(kind, images, tmp_path):
    place = tmp_path / 'name'
    if kind == 'saved':
        write_saved(images, place)
    elif kind != 'nothing':
        place.mkdir()
        write_parquet(images, place / 'train')
    else:
        with pytest.raises(DatasetError, match=r'hf:.*/name cannot be read|there is no hf:.*/name: correct the name'):
            open_source(f'hf:{place}').images()
        return
    source = open_source(f'hf:{place}')
    entries = source.images()
    assert [source.read(entry) for entry in entries] == [(images / path).read_bytes() for path in paths_under(images)]
    assert source.name(entries[3]) == f'hf:{place}:3'


def test_counting_stops_at_the_limit(images):
    assert [len(open_source(images).images(limit)) for limit in (1, 3, 9, None)] == [1, 3, 8, 8]


def test_splits(images, tmp_path):
    write_list(images, tmp_path / 'train')
    (tmp_path / 'val.txt').write_text('one.jpg\n')
    assert len(open_source(f'{tmp_path}/{{split}}.txt', 'train').images()) == 8
    assert len(open_source(f'{tmp_path}/{{split}}.txt', 'val').images()) == 1
    assert len(open_source(f'{tmp_path}/train.txt', 'train').images()) == 8
    with pytest.raises(DatasetError, match=r"train\.txt has no split 'val': write \{split\} where the names differ"):
        open_source(f'{tmp_path}/train.txt', 'val')
    WRITERS['url'](images, tmp_path / 'remote/train')
    assert open_source(f'memory:/{tmp_path}/remote', 'train').place.endswith('remote/train')
    with pytest.raises(DatasetError, match=r"split='val': there is no folder memory:/.*/val"):
        open_source(f'memory:/{tmp_path}/remote', 'val')


def test_files_passed_over_are_counted(images, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('repre_mm.datasets.image_folder.print_log', lambda message, logger: lines.append(message))
    for number in range(9):
        (images / f'dark/{number}.mov').touch()
    ImageFolder(images)
    ImageFolder(write_shards(images, tmp_path / 'copy'), labels=False)
    assert lines[0] == f'found 8 images in 2 class folders under {images}; passed over by their extension: 9 .mov'
    assert lines[1].endswith('passed over by their extension: 17 .cls, 9 .mov')


def test_a_folder_of_shards_says_how_to_name_them(images, tmp_path):
    (tmp_path / 'shards').mkdir()
    write_shards(images, tmp_path / 'shards/a')
    with pytest.raises(
        DatasetError, match=r"found 2 \.tar files. For what is in its \.tar files say '.*/shards/\*\.tar'"
    ):
        open_source(tmp_path / 'shards').images()
    assert len(open_source(tmp_path / 'shards/*.tar').images()) == 8


def test_heic_needs_its_library(images, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    (images / 'dark/0.jpg').rename(images / 'dark/0.HEIC')
    with pytest.raises(DatasetError, match=r"1 images under .* are HEIC\. Install .*pip install 'repre_mm\[data\]'"):
        ImageFolder(images)


def test_indices(images, tmp_path):
    dataset = ImageFolder(write_shards(images, tmp_path / 'copy'), labels=False, indices=[5, 1])
    names = [dataset.get_data_info(index)['img_path'] for index in range(2)]
    assert names == [f'{tmp_path}/copy-001.tar:000005.jpg', f'{tmp_path}/copy-000.tar:000001.jpg']
