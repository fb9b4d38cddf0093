"""Object classes: size and parts."""

import numpy as np
import pytest

from repre_mm.toy_scenes import CLASSES, PARTS
from repre_mm.toy_scenes.objects import build_object


@pytest.mark.parametrize('name', CLASSES)
def test_objects_have_unit_size_and_the_declared_parts(name):
    seen = set()
    for seed in range(20):
        parts = build_object(name, np.random.default_rng(seed))
        seen |= {part.name for part in parts}
        points = np.concatenate([part.outline for part in parts])
        low, high = points.min(axis=0), points.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        np.testing.assert_allclose(np.prod(high - low), 1)
    assert seen == set(PARTS[name])
