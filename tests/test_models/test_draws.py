"""Draws of augmentation: their distributions, and what cannot be drawn."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from fixtures.augmentation import NAMES, RECIPE, shipped

from repre_mm.models.preprocessor import ViewRecipe


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


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='Rotate', angle=3), 'no fast Rotate'),
        (dict(type='RandomFlip', prob=0.5), 'RandomFlip cannot be done on the device'),
        (dict(type='RandomApply', transforms=[dict(type='RandomFlip', prob=0.5)]), 'RandomFlip cannot be done'),
    ],
)
def test_what_the_device_cannot_do_is_an_error(config, message):
    with pytest.raises(ValueError, match=message):
        ViewRecipe([config])
