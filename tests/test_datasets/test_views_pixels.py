"""The CPU kernels of augmentation against torchvision on Pillow images, which the authors' codes use."""

import numpy as np
import pytest
import torchvision.transforms.functional as TF
from fixtures.views import bgr, smooth_picture
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode

from repre_mm.datasets.views import pixels


@pytest.fixture(scope='module')
def picture() -> Image.Image:
    return smooth_picture()


def difference(ours: np.ndarray, reference: Image.Image) -> np.ndarray:
    """Absolute, 0 to 255, of our BGR to an RGB image."""
    assert ours.dtype == np.uint8
    assert ours.flags.c_contiguous
    return np.abs(ours[..., ::-1].astype(int) - np.asarray(reference).astype(int))


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
