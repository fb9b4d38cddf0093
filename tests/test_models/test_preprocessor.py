"""Augmentation on the device (models/preprocessor): kernels against torchvision, draws, views, what a model gets."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from fixtures.models import ENCODERS, MEAN, STD, mocov3
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor

from repre_mm.datasets import FastMultiView
from repre_mm.engine.resilience.replay import seed_step
from repre_mm.models.preprocessor import DeviceAugmentPreprocessor, ViewRecipe, augment, kernels, preprocessor

VIEWS = Path(__file__).parents[2] / 'configs/_base_/views'
NAMES = ('byol', 'dino', 'mocov2', 'mocov3', 'simclr')
# torchvision rounds the luma's red to 0.2989, on pixels up to 1 and factors up to 1.8; and hue divides small numbers.
CLOSE = dict(rtol=0, atol=2e-4)
JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
RECIPE = [
    dict(type='RandomApply', transforms=[JITTER], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='Solarize', thr=128, prob=0.2),
]


@pytest.fixture(scope='module')
def images() -> Tensor:
    """uint8 (5, 3, 30, 40), RGB: smooth colours of every hue with some noise; the last one grey."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(5, 3, 4, 5, generator=generator), (30, 40), mode='bilinear')
    pixels = (255 * (smooth + 0.05 * torch.randn(5, 3, 30, 40, generator=generator))).clamp(0, 255).byte()
    pixels[4] = pixels[4, :1]
    return pixels


def shipped(name: str) -> tuple[list[int], list[list[dict]]]:
    """Numbers of views, and the steps of each after crop and flip."""
    (step, _) = Config.fromfile(VIEWS / f'{name}.py').pipeline
    recipes = [[s for s in steps if s.type not in ('RandomResizedCrop', 'RandomFlip')] for steps in step.transforms]
    return step.num_views, recipes


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


# What is done to pixels.


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


def test_nothing_waits_for_the_device():
    """Tensors without memory cannot be read: one look at a pixel from the host would raise."""
    recipe = ViewRecipe(RECIPE)
    changes = recipe.draw(16, torch.Generator().manual_seed(0))
    assert len({change.kernel for change in changes}) == 7
    assert augment(torch.empty(16, 3, 8, 8, device='meta'), changes, recipe.blur_radius).shape == (16, 3, 8, 8)


# What is drawn.


@pytest.mark.parametrize('name', NAMES)
def test_draws_follow_the_shipped_probabilities(name):
    draws = 4000
    for configs in shipped(name)[1]:
        steps = {step.type: step for step in configs}
        changes = ViewRecipe(configs).draw(draws, torch.Generator().manual_seed(0))
        orders, numbers = defaultdict(tuple), defaultdict(list)
        for kernel, where, values in changes:
            numbers[kernel] += values.tolist()
            if kernel in ('brightness', 'contrast', 'saturation', 'hue'):
                for i in where.tolist():
                    orders[i] += (kernel,)
        (jitter,) = steps['RandomApply'].transforms
        spans = {
            kernel: (1 - jitter[kernel], 1 + jitter[kernel]) for kernel in ('brightness', 'contrast', 'saturation')
        }
        spans |= {'hue': (-jitter.hue, jitter.hue), 'gaussian_blur': steps['GaussianBlur'].magnitude_range}
        probs = dict.fromkeys(spans, steps['RandomApply'].prob)
        probs['gaussian_blur'] = steps['GaussianBlur'].prob
        probs['greyscale'] = steps['RandomGrayscale'].prob
        probs['solarize'] = steps['Solarize'].prob if 'Solarize' in steps else 0
        for kernel, prob in probs.items():
            # 4.5 standard deviations of the binomial.
            assert abs(len(numbers[kernel]) / draws - prob) <= 4.5 * np.sqrt(prob * (1 - prob) / draws), kernel
        for kernel, span in spans.items():
            assert_uniform(np.array(numbers[kernel]), *span)
        assert numbers['solarize'] == pytest.approx([127.5 / 255] * len(numbers['solarize']))
        # Every order of the four, equally often: chi-squared with 23 degrees of freedom exceeds 58 once in 10,000.
        counts, expected = Counter(orders.values()), len(orders) / 24
        assert len(counts) == 24
        assert all(len(order) == 4 for order in counts)
        assert sum((count - expected) ** 2 for count in counts.values()) / expected < 58


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Kolmogorov-Smirnov: the two distribution functions are that close with a probability of 0.9999."""
    shares = (np.sort(values) - low) / (high - low)
    steps = np.arange(len(shares)) / len(shares)
    assert -1e-6 <= shares[0] < shares[-1] <= 1 + 1e-6
    assert np.abs(shares - steps).max() < 2.23 / np.sqrt(len(shares))
    assert len(np.unique(values)) > 0.99 * len(values)  # one of its own for each image


def test_what_is_drawn_does_not_depend_on_what_was_switched_on():
    never = [dict(RECIPE[0], prob=0.0), *RECIPE[1:]]
    often, seldom = (ViewRecipe(configs).draw(64, torch.Generator().manual_seed(4)) for configs in (RECIPE, never))
    assert {change.kernel for change in seldom} == {'greyscale', 'gaussian_blur', 'solarize'}
    for a, b in zip(often[-3:], seldom, strict=True):
        assert a.kernel == b.kernel
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.numbers, b.numbers)


@pytest.mark.parametrize('name', ['mocov3', 'simclr'])
def test_views_look_like_the_loaders(images, name):
    """Mean, spread and sharpness of the pixels over many draws: FastMultiView in 8 bits on the CPU, and here."""
    counts, recipes = shipped(name)
    crop = dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(1.0, 1.0), backend='pillow')
    fast = FastMultiView(counts, [[crop, *configs] for configs in recipes])
    cut = FastMultiView(counts, [[crop] for _ in recipes])
    device = DeviceAugmentPreprocessor(counts, recipes, to_rgb=True)
    bgr, draws = images[0].flip(0).permute(1, 2, 0).numpy().copy(), 400
    ours = [torch.from_numpy(view.copy()).permute(2, 0, 1).repeat(draws, 1, 1, 1) for view in cut({'img': bgr})['img']]
    ours = torch.stack(device({'inputs': ours, 'data_samples': None}, True)['inputs'], 1)
    theirs = [torch.from_numpy(np.stack(fast({'img': bgr})['img'])) for _ in range(draws)]
    theirs = torch.stack(theirs).flip(-1).permute(0, 1, 4, 2, 3).float()
    assert ours.shape == theirs.shape == (draws, 2, 3, 32, 32)
    for moment in (
        lambda x: x.mean((-2, -1)),
        lambda x: x.std((-2, -1)),
        lambda x: x.diff(dim=-1).abs().mean((-2, -1)),
    ):
        a, b = moment(ours), moment(theirs)
        error = ((a.var(0) + b.var(0)) / draws).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()


# The data preprocessor.


def build(num_views=(1, 1), transforms=(RECIPE, RECIPE), **options) -> DeviceAugmentPreprocessor:
    kind = dict(type='repre_mm.DeviceAugmentPreprocessor', num_views=num_views, transforms=transforms)
    return MODELS.build({**kind, 'mean': MEAN, 'std': STD, 'to_rgb': True, **options})


def batch_of(size: int, *sides: int) -> dict:
    torch.manual_seed(9)
    views = [torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8) for side in sides]
    return {'inputs': views, 'data_samples': [None] * size}


def test_gives_what_mmpretrains_gives():
    """Same shapes, types and keys; and the same numbers where nothing is to be augmented."""
    theirs = MODELS.build(dict(type='mmpretrain.SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True))
    ours, data = build([1, 1, 3], [RECIPE, [], RECIPE]), batch_of(4, 32, 32, 16, 16, 16)
    expected, trained = theirs(data, True), ours(data, True)
    assert trained.keys() == expected.keys()
    assert trained['data_samples'] == expected['data_samples']
    for i, (a, b) in enumerate(zip(trained['inputs'], expected['inputs'], strict=True)):
        assert (a.dtype, a.shape, a.is_contiguous()) == (torch.float32, b.shape, True)
        if i == 1:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        else:
            assert not torch.allclose(a, b)
    state = torch.get_rng_state()
    for a, b in zip(ours(data)['inputs'], expected['inputs'], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_view_and_image_differs():
    view = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8).repeat(12, 1, 1, 1)
    jitter_always = [dict(JITTER)]
    one, two = build(2, [jitter_always])({'inputs': [view, view], 'data_samples': None}, True)['inputs']
    assert len(torch.cat([one, two]).flatten(1).unique(dim=0)) == 24


def test_draws_follow_from_run_rank_and_iteration(monkeypatch):
    ours, data = build(), batch_of(8, 16, 16)

    def views(iteration: int, rank: int = 0, before: int = 0) -> Tensor:
        torch.rand(before)  # random numbers that something else drew before
        monkeypatch.setattr(preprocessor, 'get_rank', lambda: rank)
        seed_step(3, 0, iteration)
        return torch.stack(ours(data, True)['inputs'])

    first = views(5)
    assert torch.equal(first, views(5, before=7))
    assert not torch.equal(first, views(6))
    # Ranks whose streams are alike (randomness.diff_rank_seed=False) augment differently all the same.
    assert not torch.equal(first, views(5, rank=1))
    # Without those seeds too, no two batches are augmented alike.
    assert not torch.equal(*(torch.stack(ours(data, True)['inputs']) for _ in range(2)))


def test_bf16_and_gradients_stay_out():
    ours, data = build(), batch_of(6, 16, 16)
    torch.manual_seed(1)
    exact = ours(data, True)['inputs']
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        under_bf16 = ours(data, True)['inputs']
    for a, b in zip(exact, under_bf16, strict=True):
        assert not b.requires_grad
        assert torch.equal(a, b)


def test_repre_reconstructs_view_1_before_normalisation(monkeypatch):
    backbone, size = ENCODERS['vit']
    algorithm = mocov3(backbone)
    settings = dict(type='repre_mm.DeviceAugmentPreprocessor', num_views=2, transforms=[RECIPE], to_rgb=True)
    algorithm['data_preprocessor'] = dict(settings, mean=MEAN, std=STD)
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))
    data, targets = batch_of(4, size, size), []
    decode = model.repre_decoder.loss
    monkeypatch.setattr(model.repre_decoder, 'loss', lambda maps, view: targets.append(view) or decode(maps, view))
    torch.manual_seed(2)
    model(**model.data_preprocessor(data, True), mode='loss')
    torch.manual_seed(2)
    augmented = MODELS.build(settings)(data, True)['inputs'][0] / 255
    torch.testing.assert_close(targets[0], augmented, rtol=0, atol=1e-6)
    assert -1e-6 <= targets[0].min() < 0.1
    assert 0.9 < targets[0].max() <= 1 + 1e-6


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match='the loader gives 3 views and the data preprocessor has steps for 2'):
        build()(batch_of(2, 8, 8, 8), True)
    with pytest.raises(ValueError, match='gives one view, not a list'):
        build()({'inputs': batch_of(2, 8)['inputs'][0], 'data_samples': None}, True)
    with pytest.raises(ValueError, match=r'uint8.*not in torch\.float32'):
        build(1, [RECIPE])({'inputs': [torch.rand(2, 3, 8, 8)], 'data_samples': None}, True)
    with pytest.raises(ValueError, match='2 numbers for 1 lists'):
        build([1, 1], [RECIPE])


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='Rotate', angle=3), 'no fast Rotate'),
        (dict(type='RandomFlip', prob=0.5), 'RandomFlip cannot be done on the device'),
        (dict(type='RandomApply', transforms=[dict(type='RandomFlip', prob=0.5)]), 'RandomFlip cannot be done'),
        (dict(type='ColorJitter', hue=0.7), 'hue must be'),
    ],
)
def test_what_the_device_cannot_do_is_an_error(config, message):
    with pytest.raises(ValueError, match=message):
        build(1, [[config]])
