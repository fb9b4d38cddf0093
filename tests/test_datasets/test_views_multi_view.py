"""FastMultiView: its views against mmpretrain's, reduced decoding, and what can go wrong with a file."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.stack import needs_mmcv_hue
from fixtures.views import CROP, bgr, shipped_views, smooth_picture
from mmengine.config import Config
from mmengine.dataset import worker_init_fn
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from repre_mm.datasets import DatasetError, FastMultiView, ImageFolder, ImageReadError, view_sizes
from repre_mm.datasets.reading import decode_image, jpeg_shape
from repre_mm.datasets.views import multi_view


@pytest.fixture(scope='module')
def picture() -> Image.Image:
    return smooth_picture()


def test_every_rank_epoch_and_worker_draws_its_own():
    fast = FastMultiView(2, [[CROP]])
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def epoch() -> bytes:
        return b''.join(view.tobytes() for view in fast({'img': image})['img'])

    streams = {}
    for rank, worker in ((0, 0), (0, 1), (1, 0), (1, 1)):
        worker_init_fn(worker, num_workers=2, rank=rank, seed=3)
        streams[rank, worker] = (epoch(), epoch())
    assert len({drawn for stream in streams.values() for drawn in stream}) == 8
    worker_init_fn(0, num_workers=2, rank=1, seed=3)
    assert (epoch(), epoch()) == streams[1, 0]


@needs_mmcv_hue
def test_views_look_like_mmpretrains(picture):
    """Mean and spread of the pixels over many draws."""
    arguments = shipped_views('mocov3')
    for configs in arguments['transforms']:
        configs[0]['scale'] = 48
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        slow = TRANSFORMS.build(dict(type='MultiView', **arguments))
    np.random.seed(0)
    random.seed(0)
    moments = []
    for transform in (slow, FastMultiView(**arguments)):
        draws = [transform({'img': bgr(picture)})['img'] for _ in range(150)]
        views = np.array(draws, dtype=float)  # (draws, 2, 48, 48, 3)
        moments.append(np.stack([views.mean((2, 3)), views.std((2, 3)), np.abs(np.diff(views, axis=3)).mean((2, 3))]))
    for a, b in zip(*moments, strict=True):
        error = np.sqrt((a.var(0) + b.var(0)) / 150)
        assert (np.abs(a.mean(0) - b.mean(0)) < 4 * error).all()


def test_drops_in_for_multi_view(tmp_path, picture):
    picture.save(tmp_path / 'a.jpg')
    arguments = shipped_views('dino')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        fast = TRANSFORMS.build(dict(type='repre_mm.FastMultiView', **arguments))
        pack = TRANSFORMS.build(dict(type='PackInputs'))
    packed = pack(fast({'img_path': str(tmp_path / 'a.jpg'), 'sample_idx': 5}))
    assert [tuple(view.shape) for view in packed['inputs']] == [(3, 224, 224)] * 2 + [(3, 96, 96)] * 8
    assert all(view.dtype == torch.uint8 and view.is_contiguous() for view in packed['inputs'])
    assert packed['data_samples'].ori_shape == (90, 120)
    assert packed['data_samples'].sample_idx == 5


def test_order_of_channels_and_planes(tmp_path):
    Image.new('RGB', (40, 40), (200, 100, 10)).save(tmp_path / 'a.png')
    Image.new('RGB', (40, 40), (200, 100, 10)).save(tmp_path / 'a.jpg', quality=100, subsampling=0)
    for name in ('a.png', 'a.jpg'):
        (view,) = FastMultiView(1, [[CROP]])({'img_path': tmp_path / name})['img']
        np.testing.assert_allclose(view.reshape(-1, 3).astype(int), np.tile([10, 100, 200], (32 * 32, 1)), atol=2)
        assert view.transpose(2, 0, 1).flags.c_contiguous


@pytest.mark.parametrize(('orientation', 'size'), [(1, (601, 402)), (3, (600, 400)), (6, (600, 400)), (8, (600, 400))])
@pytest.mark.parametrize('low', [1.0, 0.2])
def test_large_images_are_decoded_small(tmp_path, picture, orientation, size, low, monkeypatch):
    """And show the same as when they are decoded in full, however they lie in the file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'a.jpg'
    smooth = picture.resize((15, 11), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    smooth.save(path, exif=exif, quality=95)
    reductions, full = [], decode_image(path, path.read_bytes(), channel_order='bgr')

    def decode(*args, reduction=1, **kwargs):
        reductions.append(reduction)
        return decode_image(*args, reduction=reduction, **kwargs)

    monkeypatch.setattr(multi_view, 'decode_image', decode)
    fast = FastMultiView(2, [[{**CROP, 'crop_ratio_range': (low, 1.0)}]])
    for seed in range(5):
        random.seed(seed)
        small = fast({'img_path': path})
        random.seed(seed)
        large = fast({'img': full})
        assert small['ori_shape'] == large['ori_shape'] == full.shape[:2]
        for a, b in zip(small['img'], large['img'], strict=True):
            # The box is off by up to half a pixel of the reduced image; another box would be off by 40 or more.
            assert np.abs(a.astype(int) - b).mean() < 8
    assert set(reductions) <= {4, 8}
    assert low != 1.0 or set(reductions) == {8}


def test_no_view_is_enlarged_for_a_reduced_image():
    fast = FastMultiView([1, 1], [[{**CROP, 'scale': 50}], [{**CROP, 'scale': 20}]])
    for boxes, expected in (
        ([(0, 0, 400, 401), (0, 0, 160, 160)], 8),
        ([(0, 0, 399, 401), (0, 0, 160, 160)], 4),
        ([(0, 0, 400, 400), (0, 0, 79, 160)], 2),
        ([(0, 0, 99, 400), (0, 0, 900, 900)], 1),
    ):
        assert fast._reduction(boxes) == expected


def test_damaged_files_are_named(tmp_path, picture):
    picture.save(tmp_path / 'a.jpg')
    (tmp_path / 'a.jpg').write_bytes((tmp_path / 'a.jpg').read_bytes()[:-400])
    with pytest.raises(ImageReadError, match=r'a\.jpg'):
        FastMultiView(1, [[CROP]])({'img_path': tmp_path / 'a.jpg'})
    picture.save(tmp_path / 'b.jpg')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = [dict(type='repre_mm.FastMultiView', num_views=1, transforms=[[CROP]]), dict(type='PackInputs')]
        folder = ImageFolder(tmp_path, pipeline=pipeline, max_bad_share=0.5)
    assert folder[0]['data_samples'].img_path == str(tmp_path / 'b.jpg')  # the other one takes its place
    with pytest.raises(ImageReadError, match='more than the limit'):
        FastMultiView(1, [[CROP]], max_pixels=100)({'img_path': tmp_path / 'b.jpg'})


def test_views_must_start_with_a_crop():
    flip = dict(type='RandomFlip', prob=0.5)
    for configs in ([], [flip], [flip, CROP], [CROP, CROP]):
        with pytest.raises(ValueError, match='start with its one RandomResizedCrop'):
            FastMultiView(1, [configs])
    with pytest.raises(ValueError, match='2 numbers for 1 lists'):
        FastMultiView([1, 1], [[CROP]])


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
def test_shape_of_a_jpeg_with_damaged_exif(tmp_path, picture):
    for exif in (b'Exif\x00\x00', b'Exif\x00\x00MM\x00*\xff\xff\xff\xff'):
        picture.save(tmp_path / 'a.jpg', exif=exif)
        fast = FastMultiView(1, [[CROP]])({'img_path': tmp_path / 'a.jpg'})
        assert fast['ori_shape'] == (90, 120)
    picture.save(tmp_path / 'a.png')
    assert jpeg_shape((tmp_path / 'a.png').read_bytes()) is None


def test_sizes_of_the_views():
    cfg = Config.fromfile(
        Path(__file__).parents[2] / 'configs/pretrain/dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'
    )
    assert view_sizes(cfg.train_dataloader.dataset.pipeline) == [224, 224] + 8 * [96]
    with pytest.raises(DatasetError, match=r'no dict\(type=.MultiView'):
        view_sizes([dict(type='PackInputs')])
    with pytest.raises(DatasetError, match=r'no dict\(type=.MultiView.*RandomResizedCrop'):
        view_sizes([dict(type='MultiView', num_views=[1], transforms=[[dict(type='RandomFlip')]])])
