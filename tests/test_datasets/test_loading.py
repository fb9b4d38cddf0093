"""Steps that read files; label maps are tested with damaged data sets in tests/test_transfer."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from repre_mm.datasets import ImageReadError, LoadImage
from repre_mm.registry import TRANSFORMS


def test_load_image(tmp_path):
    path = str(tmp_path / 'a.png')
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    results = TRANSFORMS.build({'type': 'repre_mm.LoadImage'})({'img_path': path})
    assert_array_equal(results['img'], pixels)
    assert results['img_shape'] == results['ori_shape'] == (24, 40)
    assert_array_equal(LoadImage(channel_order='bgr')({'img_path': path})['img'], pixels[..., ::-1])
    with pytest.raises(ImageReadError, match='limit of 10'):
        LoadImage(max_pixels=10)({'img_path': path})
    with pytest.raises(ValueError, match='channel_order'):
        LoadImage(channel_order='hsv')
