"""Images as a frozen encoder gets them."""

import torch
from fixtures.encoders import mm_vit
from fixtures.models import MEAN, STD
from torch.testing import assert_close

from repre_mm.evaluation import FrozenEncoder


def test_normalisation_is_that_of_training():
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = (images.double() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, 32)
    assert_close(encoder.normalised(images), expected.float())
    assert encoder.device == torch.device('cpu')
