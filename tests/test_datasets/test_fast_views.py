"""The fast views: each step against torchvision on Pillow images, the draws, and what can go wrong with a file."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from mmengine.config import Config
from mmengine.dataset import worker_init_fn
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode

from repre_mm.datasets import FastMultiView, ImageFolder, ImageReadError
from repre_mm.datasets.reading import decode_image, jpeg_shape
from repre_mm.datasets.views import multi_view, pixels, steps

VIEWS = Path(__file__).parents[2] / 'configs/_base_/views'
CROP = dict(type='RandomResizedCrop', scale=32, backend='pillow')


@pytest.fixture(scope='module')
def picture() -> Image.Image:
    """Smooth colours of every hue with some noise, 120 x 90."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (90, 120), mode='bilinear')[0]
    return TF.to_pil_image((smooth + 0.05 * torch.randn(3, 90, 120, generator=generator)).clamp(0, 1))


def bgr(image: Image.Image) -> np.ndarray:
    return np.asarray(image)[..., ::-1].copy()


def difference(ours: np.ndarray, reference: Image.Image) -> np.ndarray:
    """Absolute, 0 to 255, of our BGR to an RGB image."""
    assert ours.dtype == np.uint8
    assert ours.flags.c_contiguous
    return np.abs(ours[..., ::-1].astype(int) - np.asarray(reference).astype(int))


def shipped(name: str) -> dict:
    """The arguments of a shipped pipeline's MultiView."""
    pipeline = Config.fromfile(VIEWS / f'{name}.py').pipeline
    (step,) = (dict(step) for step in pipeline if step.type.endswith('MultiView'))
    del step['type']
    return step


# What is done to pixels, against what the authors' codes use.


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('box', [(7, 12, 40, 50), (0, 0, 90, 120), (80, 100, 9, 17)])
@pytest.mark.parametrize('size', [96, 24])
def test_crop(picture, mode, box, size):
    expected = TF.resized_crop(picture, *box, [size, size], InterpolationMode(mode))
    assert difference(pixels.resized_crop(bgr(picture), *box, size, mode), expected).max() <= 2


@pytest.mark.parametrize('factor', [0.0, 0.3, 0.8, 1.4, 1.8])
@pytest.mark.parametrize('kind', ['brightness', 'contrast', 'saturation'])
def test_jitter(picture, kind, factor):
    off = difference(getattr(pixels, kind)(bgr(picture), factor), getattr(TF, f'adjust_{kind}')(picture, factor))
    assert off.mean() < 0.5  # Pillow cuts fractions off, we round
    assert off.max() <= 2


@pytest.mark.parametrize('shift', [-0.5, -0.1, 0.05, 0.2])
def test_hue(picture, shift):
    ours = pixels.hue(bgr(picture), shift)
    exact = TF.to_pil_image(TF.adjust_hue(TF.to_tensor(picture), shift))
    pillow = TF.adjust_hue(picture, shift)
    # Both round hue to 8 bits; torchvision cuts the shift off to 255ths before, we round it to 256ths.
    assert difference(ours, exact).mean() < min(1, difference(bgr(pillow), exact).mean())
    assert difference(ours, pillow).mean() < 2


def test_grey_flip_and_solarize(picture):
    assert difference(pixels.greyscale(bgr(picture)), TF.to_grayscale(picture, 3)).max() <= 1
    assert difference(pixels.flip(bgr(picture)), TF.hflip(picture)).max() == 0
    assert difference(pixels.solarize(bgr(picture), 128), ImageOps.solarize(picture)).max() == 0


@pytest.mark.parametrize('sigma', [0.1, 0.5, 1.0, 2.0])
def test_blur(picture, sigma):
    ours = pixels.gaussian_blur(bgr(picture), sigma)
    # Pillow, which the authors' codes use, approaches a Gaussian by three box filters.
    assert difference(ours, picture.filter(ImageFilter.GaussianBlur(sigma))).mean() < 1
    inner = difference(ours, TF.gaussian_blur(picture, 23, sigma))[8:-8, 8:-8]  # torchvision mirrors at the edge
    assert inner.max() <= 2


# What is drawn.


@pytest.mark.parametrize('name', ['byol', 'dino', 'mocov2', 'mocov3', 'simclr'])
def test_changes_happen_as_often_as_in_the_shipped_views(name, monkeypatch):
    counts, draws = Counter(), 2000
    for change in ('flip', 'brightness', 'saturation', 'hue', 'greyscale', 'gaussian_blur', 'solarize'):
        monkeypatch.setattr(pixels, change, lambda image, *_, change=change: counts.update([change]) or image)
    arguments = shipped(name)
    random.seed(0)
    for configs in arguments['transforms']:
        view = FastMultiView(1, [configs]).views[0]
        counts.clear()
        for _ in range(draws):
            for step in view[1]:
                step(np.empty((1, 1, 3), np.uint8))
        probs = {step['type']: step['prob'] for step in configs[1:]}
        expected = dict(
            flip=probs['RandomFlip'],
            brightness=probs['RandomApply'],
            hue=probs['RandomApply'],
            greyscale=probs['RandomGrayscale'],
            gaussian_blur=probs['GaussianBlur'],
            solarize=probs.get('Solarize', 0),
        )
        for change, prob in expected.items():
            # 4.5 standard deviations of the binomial.
            assert abs(counts[change] / draws - prob) <= 4.5 * np.sqrt(prob * (1 - prob) / draws), change


def spans(values: list[float], low: float, high: float) -> bool:
    """Uniform draws lie in the range and fill it, and their mean is in the middle (5 standard deviations)."""
    room = 0.05 * (high - low)
    middle = abs(np.mean(values) - (low + high) / 2) <= 5 * (high - low) / np.sqrt(12 * len(values))
    return low <= min(values) < low + room and high - room < max(values) <= high and middle


def test_jitter_draws_as_torchvision(monkeypatch):
    drawn, orders = {}, Counter()
    names = ('brightness', 'contrast', 'saturation', 'hue')
    for name in names:
        monkeypatch.setattr(pixels, name, lambda image, value, name=name: [*image, (name, value)])
    jitter = steps.build_step(
        dict(type='mmpretrain.ColorJitter', brightness=0.4, contrast=[0.5, 0.9], saturation=1.5, hue=0.1)
    )
    random.seed(0)
    for _ in range(600):
        done = jitter([])
        orders[tuple(name for name, _ in done)] += 1
        for name, value in done:
            drawn.setdefault(name, []).append(value)
    assert len(orders) == 24  # every order of the four
    assert max(orders.values()) < 3 * 25
    for name, (low, high) in zip(names, [(0.6, 1.4), (0.5, 0.9), (0.0, 2.5), (-0.1, 0.1)], strict=True):
        assert spans(drawn[name], low, high), name


def test_blur_draws_its_range(monkeypatch):
    monkeypatch.setattr(pixels, 'gaussian_blur', lambda image, sigma: sigma)
    blur = steps.build_step(dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0))
    assert spans([blur(None) for _ in range(400)], 0.1, 2.0)


@pytest.mark.parametrize(('height', 'width'), [(375, 500), (333, 250)])
def test_boxes_are_distributed_as_torchvisions(height, width):
    from torchvision.transforms import RandomResizedCrop

    random.seed(0)
    torch.manual_seed(0)
    crop = steps.build_step(CROP)
    image, draws = torch.empty(3, height, width), 4000
    ours = np.array([crop.draw(height, width) for _ in range(draws)], dtype=float)
    theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(draws)])
    # Top, left, height, width, area and shape.
    ours, theirs = (
        np.column_stack([boxes, boxes[:, 2] * boxes[:, 3], boxes[:, 3] / boxes[:, 2]]) for boxes in (ours, theirs)
    )
    for a, b in zip(ours.T, theirs.T, strict=True):
        # Kolmogorov-Smirnov: the two distribution functions are that close with a probability of 0.9999.
        grid = np.concatenate([a, b])
        cdfs = [np.searchsorted(np.sort(column), grid, side='right') / draws for column in (a, b)]
        assert np.abs(cdfs[0] - cdfs[1]).max() < 2.23 * np.sqrt(2 / draws)


def test_a_long_image_gives_its_middle():
    crop = steps.build_step({**CROP, 'crop_ratio_range': (1.0, 1.0)})
    assert crop.draw(100, 1000) == (0, 433, 100, 133)
    assert crop.draw(1000, 100) == (433, 0, 133, 100)
    assert crop.draw(1, 1) == (0, 0, 1, 1)


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


def test_views_look_like_mmpretrains(picture):
    """Mean and spread of the pixels over many draws."""
    arguments = shipped('mocov3')
    for configs in arguments['transforms']:
        configs[0]['scale'] = 48
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        slow = TRANSFORMS.build(dict(type='MultiView', **arguments))
    np.random.seed(0)
    random.seed(0)
    moments = []
    for transform in (slow, FastMultiView(**arguments)):
        draws = [transform({'img': bgr(picture)})['img'] for _ in range(300)]
        views = np.array(draws, dtype=float)  # (draws, 2, 48, 48, 3)
        moments.append(np.stack([views.mean((2, 3)), views.std((2, 3)), np.abs(np.diff(views, axis=3)).mean((2, 3))]))
    for a, b in zip(*moments, strict=True):
        error = np.sqrt((a.var(0) + b.var(0)) / 300)
        assert (np.abs(a.mean(0) - b.mean(0)) < 4 * error).all()


# The transform.


def test_drops_in_for_multi_view(tmp_path, picture):
    picture.save(tmp_path / 'a.jpg')
    arguments = shipped('dino')
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


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
def test_shape_of_a_jpeg_with_damaged_exif(tmp_path, picture):
    for exif in (b'Exif\x00\x00', b'Exif\x00\x00MM\x00*\xff\xff\xff\xff'):
        picture.save(tmp_path / 'a.jpg', exif=exif)
        fast = FastMultiView(1, [[CROP]])({'img_path': tmp_path / 'a.jpg'})
        assert fast['ori_shape'] == (90, 120)
    picture.save(tmp_path / 'a.png')
    assert jpeg_shape((tmp_path / 'a.png').read_bytes()) is None


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


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='Rotate', angle=3), 'no fast Rotate'),
        (dict(type='RandomFlip', prob=0.5, direction='vertical'), 'direction'),
        (dict(type='RandomFlip', prob=1.5), 'prob'),
        (dict(type='RandomResizedCrop', scale=32), 'backend'),
        (dict(type='RandomResizedCrop', scale=(32, 16), backend='pillow'), 'scale'),
        (dict(type='RandomResizedCrop', scale=32, backend='pillow', interpolation='area'), 'interpolation'),
        (dict(type='ColorJitter', hue=0.7), 'hue'),
        (dict(type='ColorJitter', brightness=(1.4, 0.6)), 'brightness'),
        (dict(type='RandomGrayscale', keep_channels=True), 'channel_weights'),
        (dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std=0), 'magnitude_std'),
    ],
)
def test_what_it_cannot_do_is_an_error(config, message):
    with pytest.raises(ValueError, match=rf"{message}.*type='MultiView'"):
        FastMultiView(1, [[config]])


def test_mmpretrains_rounded_luma_will_do():
    steps.build_step(dict(type='RandomGrayscale', keep_channels=True, channel_weights=[0.114, 0.587, 0.2989]))


def test_views_must_start_with_a_crop():
    flip = dict(type='RandomFlip', prob=0.5)
    for configs in ([], [flip], [flip, CROP], [CROP, CROP]):
        with pytest.raises(ValueError, match='start with its one RandomResizedCrop'):
            FastMultiView(1, [configs])
    with pytest.raises(ValueError, match='2 numbers for 1 lists'):
        FastMultiView([1, 1], [[CROP]])
