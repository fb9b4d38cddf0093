"""The draws of the random steps, and the arguments that they refuse."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from fixtures.views import CROP, shipped_views

from repre_mm.datasets import FastMultiView
from repre_mm.datasets.views import pixels, steps


def test_changes_happen_as_often_as_in_a_shipped_recipe(monkeypatch, name='mocov3'):
    counts, draws = Counter(), 2000
    for change in ('flip', 'brightness', 'saturation', 'hue', 'greyscale', 'gaussian_blur', 'solarize'):
        monkeypatch.setattr(pixels, change, lambda image, *_, change=change: counts.update([change]) or image)
    arguments = shipped_views(name)
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


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='Rotate', angle=3), 'no fast Rotate'),
        (dict(type='RandomFlip', prob=0.5, direction='vertical'), 'direction'),
        (dict(type='RandomFlip', prob=1.5), 'prob'),
        (dict(type='RandomResizedCrop', scale=32), 'backend'),
        (dict(type='RandomResizedCrop', scale=(32, 16), backend='pillow'), 'scale'),
        (dict(type='RandomResizedCrop', scale=32, backend='pillow', interpolation='area'), 'interpolation'),
        (dict(type='RandomGrayscale', keep_channels=True), 'channel_weights'),
        (dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std=0), 'magnitude_std'),
    ],
)
def test_what_it_cannot_do_is_an_error(config, message):
    with pytest.raises(ValueError, match=rf"{message}.*type='MultiView'"):
        FastMultiView(1, [[config]])


def test_mmpretrains_rounded_luma_will_do():
    steps.build_step(dict(type='RandomGrayscale', keep_channels=True, channel_weights=[0.114, 0.587, 0.2989]))
