"""Parts and objects cut out of their images, and their tokens."""

import numpy as np
import pytest
import torch
from fixtures.encoders import WIDTH, filled, mm_swin, mm_vit
from fixtures.models import MEAN, STD
from fixtures.parts import SIDE, make_coco
from torch.testing import assert_close
from torchvision.transforms.functional import InterpolationMode, center_crop, resize

from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.studies.parts.crops import Crops, crop_batches, cut, encode_crops, tokens_of
from repre_mm.utils.errors import UserError


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_cut_is_the_box_with_black_beyond_the_image(pixels):
    patch = cut(pixels, (-8, 10, 24, 42), 32)  # of the size itself: nothing is resized
    assert (patch[:, :, :8] == 0).all() and (patch[:, 30:] == 0).all()
    assert (patch[:, :30, 8:].permute(1, 2, 0).numpy() == pixels[10:40, :24]).all()
    assert (cut(pixels, (70, 50, 80, 60), 8) == 0).all()


def test_training_patches_lose_their_edge(pixels):
    box = torch.from_numpy(pixels[:40, :40].copy()).permute(2, 0, 1)[None].float()
    expected = center_crop(resize(box, [256, 256], InterpolationMode.BICUBIC, antialias=True), [224, 224])
    found = cut(pixels, (0, 0, 40, 40), 224, centre=True).float()
    assert_close(found, expected[0].round().clamp(0, 255), rtol=0, atol=0)


def test_parts_and_objects_have_their_labels(tmp_path):
    data = make_coco(tmp_path, 3, seed=0)
    parts, wholes = Crops(data, 'part', 16), Crops(data, 'object', 16)
    assert parts.counts() == [2, 2, 2] and wholes.counts() == [1, 1, 1]
    patches, labels = parts[1]
    assert patches.shape == (2, 3, 16, 16) and labels.tolist() == [0, 1]  # a car's red and green part
    red, green = patches.float().mean(dim=(2, 3))
    assert red[0] > 180 and red[1] < 80 and green[1] > 160 and green[0] < 80
    patches, labels = wholes[1]
    assert patches.shape == (1, 3, 16, 16) and labels.tolist() == [0]


def test_batches_hold_every_patch_once_in_order(tmp_path):
    crops = Crops(make_coco(tmp_path, 5, seed=0), 'part', 16)
    batches = list(crop_batches(crops, 4, 0, False))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    expected = [crops[index] for index in range(5)]
    assert_close(torch.cat([images for images, _ in batches]), torch.cat([images for images, _ in expected]))
    assert_close(torch.cat([labels for _, labels in batches]), torch.cat([labels for _, labels in expected]))


def test_tokens_begin_with_the_class_token_after_the_final_norm():
    vit, images = mm_vit(), torch.rand(2, 3, 32, 32)
    assert_close(tokens_of(vit, images), vit(images)[0].detach())  # out_type='raw'


def test_mean_stands_in_for_a_missing_class_token():
    swin, images = filled(mm_swin()), torch.rand(1, 3, 64, 64)
    expected = swin(images)[-1].detach().flatten(2).transpose(1, 2)
    tokens = tokens_of(swin, images)
    assert_close(tokens[:, 1:], expected)
    assert_close(tokens[:, 0], expected.mean(dim=1))


def test_encoded_patches_are_those_of_the_encoder(tmp_path):
    data = make_coco(tmp_path, 3, seed=0)
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, SIDE)
    crops = Crops(data, 'part', SIDE)
    tokens, labels = encode_crops(encoder, crops, batch_size=4, workers=0, progress=False)
    assert tokens.shape == (6, 17, WIDTH) and tokens.dtype == torch.float16
    images = torch.cat([crops[index][0] for index in range(3)])
    expected = tokens_of(encoder.module, encoder.normalised(images))
    assert_close(tokens.float(), expected, rtol=2e-3, atol=2e-3)
    assert labels.tolist() == [label for labels in data.labels('part') for label in labels]


def test_features_that_mean_nothing_are_refused(tmp_path):
    vit = mm_vit()
    vit.cls_token.data.fill_(torch.nan)
    with pytest.raises(UserError, match='features are NaN or infinite'):
        encode_crops(FrozenEncoder(vit, MEAN, STD, SIDE), Crops(make_coco(tmp_path, 2, 0), 'part', SIDE), workers=0)
