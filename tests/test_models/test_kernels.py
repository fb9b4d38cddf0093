"""Kernels of augmentation against torchvision, one by one and in the order of shipped recipes."""

from collections import Counter

import pytest
import torch
import torchvision.transforms.functional as TF
from fixtures.augmentation import NAMES, colourful_images, shipped
from torch import Tensor

from repre_mm.models.preprocessor import ViewRecipe, augment, kernels

# torchvision rounds the luma's red to 0.2989, on pixels up to 1 and factors up to 1.8; and hue divides small numbers.
CLOSE = dict(rtol=0, atol=2e-4)


@pytest.fixture(scope='module')
def images() -> Tensor:
    return colourful_images()


def reference(kernel: str, image: Tensor, number: float, radius: int = 6) -> Tensor:
    """One image (3, H, W), in 8 bits or in [0, 1], by torchvision."""
    if kernel == 'greyscale':
        return TF.rgb_to_grayscale(image, 3)
    if kernel == 'solarize':
        return TF.solarize(image, number if image.is_floating_point() else number * 255)
    if kernel == 'gaussian_blur':
        # torchvision mirrors at the edge; Pillow, and we, repeat the outermost pixels.
        kind = image.dtype
        padded = torch.nn.functional.pad(image[None].float(), [2 * radius] * 4, mode='replicate')[0].to(kind)
        blurred = TF.gaussian_blur(padded, 2 * radius + 1, number)
        return blurred[:, 2 * radius : -2 * radius, 2 * radius : -2 * radius]
    return getattr(TF, f'adjust_{kernel}')(image, number)


@pytest.mark.parametrize(
    ('kernel', 'numbers'),
    [
        ('brightness', (0.0, 0.3, 1.0, 1.4, 1.8)),
        ('contrast', (0.0, 0.3, 1.0, 1.4, 1.8)),
        ('saturation', (0.0, 0.3, 1.0, 1.4, 1.8)),
        ('hue', (-0.5, -0.1, 0.0, 0.2, 0.5)),
        ('greyscale', (1.0,) * 5),
        ('solarize', tuple((n - 0.5) / 255 for n in (1, 25, 128, 200, 255))),
        ('gaussian_blur', (0.1, 0.5, 1.0, 1.5, 2.0)),
    ],
)
def test_kernel_equals_torchvision_with_a_number_per_image(images, kernel, numbers):
    options = dict(radius=6) if kernel == 'gaussian_blur' else {}
    floats = images / 255
    before = floats.clone()
    ours = getattr(kernels, kernel)(floats, torch.tensor(numbers), **options)
    assert torch.equal(floats, before)
    assert ours.shape == images.shape
    exact = torch.stack([reference(kernel, *pair) for pair in zip(floats, numbers, strict=True)])
    torch.testing.assert_close(ours, exact, **CLOSE)
    assert 0 <= ours.min() <= ours.max() <= 1 + 1e-6
    # In 8 bits torchvision cuts fractions off, so it may be one of 255 below; twice where grey is one of two parts.
    rounded = torch.stack([reference(kernel, *pair) for pair in zip(images, numbers, strict=True)])
    assert (ours * 255 - rounded).abs().max() < (2 if kernel in ('contrast', 'saturation') else 1.05)


@pytest.mark.parametrize('name', NAMES)
def test_view_equals_torchvision_one_by_one(images, name):
    """Everything drawn for a batch, in its order."""
    batch = images.repeat(6, 1, 1, 1) / 255
    for configs in shipped(name)[1]:
        recipe = ViewRecipe(configs)
        changes = recipe.draw(len(batch), torch.Generator().manual_seed(1))
        expected, changed = list(batch), Counter()
        for kernel, where, numbers in changes:
            for i, number in zip(where.tolist(), numbers.tolist(), strict=True):
                expected[i] = reference(kernel, expected[i], number, recipe.blur_radius)
                changed[i] += 1
        assert max(changed.values()) > 4
        ours = augment(batch.clone(), changes, recipe.blur_radius)
        # Next to where solarizing jumps, and next to grey, where hue does, a rounding shows; nowhere else.
        off = (ours - torch.stack(expected)).abs()
        assert (off > 1 / 255).float().mean() < 1e-4
        assert off.mean() < 1e-4
