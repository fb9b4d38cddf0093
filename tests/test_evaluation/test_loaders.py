"""Batches of labelled crops, and samples of a folder of images."""

import numpy as np
import pytest
import torch
from fixtures.data import make_image_folder
from PIL import Image
from torch.utils.data import DataLoader

from repre_mm.datasets import DatasetError
from repre_mm.evaluation.loaders import EvaluationError, ImageSource, image_folder_loader


def test_loader_gives_the_standard_crop_in_order(data_root):
    loader = image_folder_loader(data_root, 'val', 32, batch_size=4, workers=0)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert images.shape == (9, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert loader.dataset.metainfo['classes'] == ('blue', 'green', 'red')
    colours = images.float().mean(dim=(2, 3)).view(3, 3, 3).mean(dim=1)
    np.testing.assert_allclose(colours, [(30, 30, 220), (20, 200, 40), (220, 30, 30)], atol=8)  # red first: RGB


@pytest.mark.parametrize(('name', 'filter_'), [('bicubic', Image.BICUBIC), ('bilinear', Image.BILINEAR)])
def test_loader_crops_the_centre_of_the_resized_image(tmp_path, name, filter_):
    folder = tmp_path / 'val' / 'one'
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    picture.save(folder / 'a.png')
    ((images, _),) = image_folder_loader(tmp_path, 'val', 56, workers=0, interpolation=name)
    expected = picture.resize((96, 64), filter_).crop((20, 4, 76, 60))
    np.testing.assert_array_equal(images[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_labels_follow_the_training_classes(data_root, tmp_path):
    folder = tmp_path / 'val' / 'red'
    folder.mkdir(parents=True)
    Image.new('RGB', (40, 40)).save(folder / 'a.png')
    ((_, labels),) = image_folder_loader(tmp_path, 'val', 32, workers=0, classes=['blue', 'green', 'red'])
    assert labels.tolist() == [2]


def test_missing_split(data_root):
    with pytest.raises(DatasetError, match=r"split='test': there is no folder .*/test\."):
        image_folder_loader(data_root, 'test', 32)
    with pytest.raises(EvaluationError, match=r'no folder .*/val/\w+/train.*\{train,val\}/<class>/'):
        image_folder_loader(f'{data_root}/val/red', 'train', 32)


def test_augmented_loader_is_random_by_seed_and_epoch_alone(data_root):
    def draw(epoch: int, workers: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        loader = image_folder_loader(data_root, 'train', 32, batch_size=24, workers=workers, augment=True)
        loader.batch_sampler.epoch = epoch
        ((images, labels),) = loader
        return images, labels

    first, again, other = draw(1), draw(1, workers=0), draw(2)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first[0], other[0])
    assert sorted(first[1].tolist()) == [0] * 8 + [1] * 8 + [2] * 8 != first[1].tolist()


@pytest.mark.parametrize('world_size', [1, 3, 10])
def test_processes_share_each_batch_in_order(data_root, monkeypatch, world_size):
    monkeypatch.setattr('repre_mm.evaluation.loaders.get_world_size', lambda: world_size)
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr('repre_mm.evaluation.loaders.get_rank', lambda rank=rank: rank)
        loader = image_folder_loader(data_root, 'val', 32, batch_size=5, workers=0)
        parts.append(list(loader))
        assert len(parts[-1]) == len(loader) == 2
    whole = list(DataLoader(loader.dataset, 5, collate_fn=loader.collate_fn))
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        for each, share in zip(batch, zip(*shares, strict=True), strict=True):
            torch.testing.assert_close(torch.cat(share), each, rtol=0, atol=0)


@pytest.fixture
def source(tmp_path):
    return ImageSource(make_image_folder(tmp_path / 'data', val=12))


def test_source_takes_val_and_the_classes(source):
    assert source.count == 12 and source.classes == ('dark', 'light')
    assert len(set(source.sample(5))) == 5 and source.sample(5) == source.sample(5) != source.sample(5, seed=1)
    chosen = source.sample_classes(classes=1, per_class=4)
    assert len(chosen) == 4 and len(set(source.labels[chosen])) == 1


def test_flat_folder_has_images_but_no_classes(source):
    flat = ImageSource(f'{source.root}/val/dark')
    assert flat.count == 6 and flat.labels is None
    with pytest.raises(EvaluationError, match='must be in'):
        flat.sample_classes(2, 2)
