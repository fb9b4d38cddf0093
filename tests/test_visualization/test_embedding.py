"""Projections of features to the plane."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from repre_mm.visualization.embedding import clusters, embedding_figure, project


def groups(per_class=12):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16)) * 5
    labels = np.repeat(np.arange(3), per_class)
    return (centres[labels] + rng.normal(size=(len(labels), 16))).astype(np.float32), labels


def test_tsne_keeps_classes_together_and_repeats_itself():
    pytest.importorskip('sklearn')
    features, labels = groups()
    points = project(features)
    assert points.shape == (36, 2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(np.full(36, np.inf))
    assert (labels[distances.argmin(1)] == labels).mean() > 0.95
    assert_array_equal(points, project(features * 8))  # lengths do not count; 8 scales without rounding
    figure = embedding_figure({'<a>': points, '$b$': points}, labels, ['x', 'y', '$z$'])
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['x', 'y', '$z$']
    with pytest.raises(ValueError, match='3 images are too few'):
        project(features[:3])


def test_kmeans_finds_the_groups():
    pytest.importorskip('sklearn')
    features, labels = groups()
    found = clusters(features, 3)
    assert [len(set(found[labels == label])) for label in range(3)] == [1, 1, 1] and len(set(found)) == 3
    assert_array_equal(found, clusters(features * 8, 3))
    assert len(set(clusters(features[:4], 10))) == 4  # no more clusters than images
