"""Images in every form that the Python API takes."""

import numpy as np
import pytest
import torch

from repre_mm.apis.images import Crops
from repre_mm.utils.errors import UserError


def test_a_batch_is_a_list_of_images():
    assert Crops(torch.zeros(2, 3, 8, 8), 32).names == ('image 0', 'image 1')


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'there are no images'),
        ('nowhere.jpg', 'there is no file or folder nowhere.jpg'),
        (np.zeros((8, 8), np.uint8), r'image 0: uint8 \[8, 8\] is no image'),
        (torch.zeros(1, 8, 8), r'image 0: uint8 \[8, 8, 1\] is no image'),
        (torch.full((3, 8, 8), 2.0), r'must lie in \[0, 1\]'),
    ],
)
def test_what_is_no_image_is_named(images, message):
    with pytest.raises(UserError, match=message):
        Crops(images, 32)[0]
