"""Colours, which say nothing about the class."""

import numpy as np

from repre_mm.toy_scenes import CLASSES
from repre_mm.toy_scenes.render import render_portrait


def test_class_is_not_readable_from_mean_color():
    def features(seed):
        images = [render_portrait(CLASSES[i % 10], np.random.default_rng([seed, i]), 32).image for i in range(300)]
        return np.array([np.concatenate([x.mean((0, 1)), x.std((0, 1))]) for x in images])

    train, test = features(0), features(1)
    labels = np.arange(300) % 10
    scale = train.std(0)
    centres = np.stack([train[labels == k].mean(0) for k in range(10)]) / scale
    guess = np.linalg.norm((test / scale)[:, None] - centres, axis=2).argmin(1)
    assert (guess == labels).mean() < 0.2  # chance is 0.1
