"""The views of configs/_base_/views: how often and how strongly each step acts, against the papers' code."""

import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torchvision.transforms.functional as TF
from fixtures.stack import needs_mmcv_hue
from fixtures.views import bgr, smooth_picture
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode

CONFIGS = Path(__file__).parents[2] / 'configs' / 'pretrain'


class View(NamedTuple):
    """What a method publishes of one view; probabilities, and ranges as its code's arguments."""

    blur: float
    solarize: float = 0.0
    crop: tuple = (0.08, 1.0)
    jitter: tuple = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue
    interpolation: str = 'bilinear'
    size: int = 224


SIMCLR = View(blur=0.5, jitter=(0.8, 0.8, 0.8, 0.2), interpolation='bicubic')
MOCOV2 = View(blur=0.5, jitter=(0.4, 0.4, 0.4, 0.1), crop=(0.2, 1.0))
ONE, OTHER = View(blur=1.0), View(blur=0.1, solarize=0.2)


def _bicubic(view: View, crop: tuple = (0.08, 1.0), size: int = 224) -> View:
    return view._replace(interpolation='bicubic', crop=crop, size=size)


def _dino(middle: tuple, small: tuple, count: int) -> list[View]:
    return [_bicubic(ONE, middle), _bicubic(OTHER, middle)] + count * [_bicubic(View(blur=0.5), small, 96)]


# Sources: the heads of configs/_base_/views/*.py.
PUBLISHED = {
    'simclr/simclr_vit-small-p16_8xb512-amp-coslr-300e_in1k': [SIMCLR, SIMCLR],
    'byol/byol_vit-small-p16_8xb512-amp-coslr-300e_in1k': [_bicubic(ONE), _bicubic(OTHER)],
    'mocov2/mocov2_vit-small-p16_8xb128-amp-coslr-300e_in1k': [MOCOV2, MOCOV2],
    'simsiam/simsiam_vit-small-p16_8xb128-amp-coslr-300e_in1k': [MOCOV2, MOCOV2],
    'mocov3/mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k': [ONE, OTHER],
    'moby/moby_swin-tiny_8xb64-amp-coslr-300e_in1k': [ONE, OTHER],
    'dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k': _dino((0.4, 1.0), (0.05, 0.4), 8),
    'dino/dino_vit-small-p16_16xb64-amp-coslr-800e_in1k': _dino((0.25, 1.0), (0.05, 0.25), 10),
    'dino/dino_vit-base-p16_32xb32-amp-coslr-800e_in1k': _dino((0.25, 1.0), (0.05, 0.25), 10),
    'dino/dino_swin-tiny_16xb32-amp-coslr-100e_in1k': _dino((0.4, 1.0), (0.05, 0.4), 8),
}


@cache
def shipped(name: str) -> list[list[dict]]:
    """The transforms of each view of a config, one entry per view."""
    multi_view = Config.fromfile(CONFIGS / f'{name}.py').train_dataloader.dataset.pipeline[0]
    assert multi_view.type == 'repre_mm.FastMultiView'
    return [
        steps for count, steps in zip(multi_view.num_views, multi_view.transforms, strict=True) for _ in range(count)
    ]


def build(steps: list[dict]) -> list:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return [TRANSFORMS.build(dict(step)) for step in steps]


def find(steps: list, name: str):
    """The transform of this class, also inside a RandomApply."""
    for step in steps:
        if type(step).__name__ == 'RandomApply':
            step = step.transforms.transforms[0] if name == 'ColorJitter' else step
        if type(step).__name__ == name:
            return step
    raise LookupError(name)


_measured: dict[str, dict[str, float]] = {}


def frequencies(steps: list[dict], draws: int = 1000) -> dict[str, float]:
    """How often each transform changes a tiny noise image. Views that are written alike are measured once."""
    if repr(steps) not in _measured:
        rng = np.random.default_rng(0)
        # Not too dark, or a dimmed image would have nothing to solarize.
        image = rng.integers(60, 256, (16, 16, 3), dtype=np.uint8)
        np.random.seed(0)  # the transforms draw from numpy's global stream,
        random.seed(0)  # RandomGrayscale from Python's
        transforms = build([{**step, 'scale': 12} if step['type'] == 'RandomResizedCrop' else step for step in steps])
        changed = Counter()
        for _ in range(draws):
            results = {'img': image}
            for step in transforms:
                before = results['img']
                results = step(results)
                changed[type(step).__name__] += not np.array_equal(before, results['img'])
        _measured[repr(steps)] = {name: count / draws for name, count in changed.items()}
    return _measured[repr(steps)]


def assert_share(share: float, expected: float, draws: int = 1000) -> None:
    bound = 4.5 * np.sqrt(expected * (1 - expected) / draws)  # 4.5 standard deviations of the binomial
    # Up to 2 % of the changes are too weak to change a pixel: blurs of the smallest radius, jitters near to none.
    assert 0.98 * expected - bound <= share <= expected + bound


@needs_mmcv_hue
@pytest.mark.parametrize('name', PUBLISHED)
def test_changes_happen_as_often_as_published(name):
    assert len(shipped(name)) == len(PUBLISHED[name])
    for steps, view in zip(shipped(name), PUBLISHED[name], strict=True):
        share = frequencies(steps)
        assert_share(share['RandomFlip'], 0.5)
        assert_share(share['RandomApply'], 0.8)  # the colour jitter
        assert_share(share['RandomGrayscale'], 0.2)
        assert_share(share['GaussianBlur'], view.blur)
        assert_share(share.get('Solarize', 0.0), view.solarize)
        assert set(share) <= {
            'RandomResizedCrop', 'RandomFlip', 'RandomApply', 'RandomGrayscale', 'GaussianBlur', 'Solarize'
        }  # fmt: skip


@pytest.mark.parametrize('name', PUBLISHED)
def test_changes_are_as_strong_as_published(name):
    np.random.seed(0)
    for steps, view in zip(shipped(name), PUBLISHED[name], strict=True):
        transforms = build(steps)
        crop, jitter, blur = (find(transforms, n) for n in ('RandomResizedCrop', 'ColorJitter', 'GaussianBlur'))
        assert crop.scale == (view.size, view.size)
        assert (crop.interpolation, crop.backend) == (view.interpolation, 'pillow')
        assert crop.aspect_ratio_range == (3 / 4, 4 / 3)
        assert_spans([np.prod(crop.rand_crop_params(np.empty((1000, 1000)))[2:]) / 1e6 for _ in range(300)], *view.crop)
        params = [jitter._rand_params() for _ in range(300)]
        for i, strength in enumerate(view.jitter):
            centre = 0 if i == 3 else 1
            assert_spans([p[1 + i] for p in params], centre - strength, centre + strength)
        assert len({tuple(p[0]) for p in params}) == 24  # every order of the four
        assert_spans([blur.random_magnitude() for _ in range(300)], 0.1, 2.0)
        if view.solarize:
            assert find(transforms, 'Solarize').thr == 128


def assert_spans(values: list[float], low: float, high: float) -> None:
    """300 uniform draws lie in the range and fill it: the outermost 5 % of either side stay empty once in 10^6."""
    room = 0.05 * (high - low)
    slack = 0.002  # a crop has whole pixels
    assert low - slack <= min(values) < low + room
    assert high - room < max(values) <= high + slack


# What mmpretrain does on BGR arrays, against torchvision and Pillow on RGB images, which the authors' codes use.


@pytest.fixture(scope='module')
def picture() -> Image.Image:
    return smooth_picture(60, 80)


def apply(image: Image.Image, step) -> np.ndarray:
    """RGB in, RGB out, int; the transform sees BGR."""
    return step({'img': bgr(image)})['img'][..., ::-1].astype(int)


MOCOV3 = 'mocov3/mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k'
DINO = 'dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k'


@pytest.mark.parametrize(('name', 'mode'), [(MOCOV3, InterpolationMode.BILINEAR), (DINO, InterpolationMode.BICUBIC)])
def test_crop_is_torchvisions(picture, name, mode, monkeypatch):
    crop = find(build(shipped(name)[0]), 'RandomResizedCrop')
    monkeypatch.setattr(crop, 'rand_crop_params', lambda image: (7, 12, 40, 50))
    expected = TF.resized_crop(picture, 7, 12, 40, 50, [224, 224], mode)
    np.testing.assert_array_equal(apply(picture, crop), np.asarray(expected))


@pytest.mark.parametrize('factor', [0.3, 0.8, 1.4])
@pytest.mark.parametrize('kind', ['brightness', 'contrast', 'saturation'])
def test_jitter_is_torchvisions(picture, kind, factor):
    (jitter,) = build([dict(type='ColorJitter', backend='cv2', **{kind: (factor, factor)})])
    expected = np.asarray(getattr(TF, f'adjust_{kind}')(picture, factor)).astype(int)
    assert np.abs(apply(picture, jitter) - expected).max() <= 2


@needs_mmcv_hue
@pytest.mark.parametrize('shift', [-0.1, 0.05, 0.2])
def test_hue_is_torchvisions(picture, shift):
    (jitter,) = build([dict(type='ColorJitter', backend='cv2', hue=(shift, shift))])
    difference = np.abs(apply(picture, jitter) - np.asarray(TF.adjust_hue(picture, shift)).astype(int))
    # OpenCV and Pillow round hue to 8 bits each in its own way.
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) <= 8


def test_grey_is_torchvisions(picture):
    config = next(step for step in shipped(MOCOV3)[0] if step['type'] == 'RandomGrayscale')
    (grey,) = build([{**config, 'prob': 1.0}])
    expected = np.asarray(TF.to_grayscale(picture, num_output_channels=3)).astype(int)
    assert np.abs(apply(picture, grey) - expected).max() <= 1


def test_solarize_is_pillows(picture):
    config = next(step for step in shipped(MOCOV3)[1] if step['type'] == 'Solarize')
    (solarize,) = build([{**config, 'prob': 1.0}])
    np.testing.assert_array_equal(apply(picture, solarize), np.asarray(ImageOps.solarize(picture)))


def test_blur_radius_is_the_standard_deviation(monkeypatch):
    blur = find(build(shipped(MOCOV3)[0]), 'GaussianBlur')
    monkeypatch.setattr(blur, 'random_magnitude', lambda: 1.5)
    line = np.zeros((41, 41, 3), dtype=np.uint8)
    line[:, 20] = 255
    profile = blur({'img': line})['img'][20, :, 0].astype(float)
    offsets = np.arange(41) - 20
    assert np.sqrt((profile * offsets**2).sum() / profile.sum()) == pytest.approx(1.5, rel=0.05)
