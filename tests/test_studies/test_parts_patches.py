"""Patch features of a frozen encoder, and their means over regions."""

import pytest
import torch
from fixtures.encoders import DEPTH, HEADS, PATCH, WIDTH, mm_swin, mm_vit, timm_names
from mmpretrain.models import EfficientNet
from torch.testing import assert_close

from repre_mm.models import TimmBackbone
from repre_mm.studies.parts.patches import patch_map, region_means
from repre_mm.utils.errors import UserError


def test_tokens_are_those_after_the_final_norm():
    images = torch.rand(2, 3, 32, 32)
    vit = mm_vit()
    expected = vit(images)[0][:, 1:].detach()  # out_type='raw': the class token, then the patches
    assert_close(patch_map(vit, images), expected.transpose(1, 2).reshape(2, WIDTH, 4, 4))
    swin = mm_swin()
    images = torch.rand(1, 3, 64, 64)
    assert_close(patch_map(swin, images), swin(images)[-1].detach())


def test_timm_gives_the_same_tokens():
    vit = mm_vit()
    options = dict(patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=2, img_size=32)
    backbone = TimmBackbone('vit_small_patch16_224', **options)
    backbone.model.load_state_dict(timm_names(vit))
    images = torch.rand(2, 3, 32, 32)
    assert_close(patch_map(backbone, images), patch_map(vit, images), rtol=1e-4, atol=1e-4)


def test_encoder_without_patch_tokens_is_refused():
    with pytest.raises(UserError, match='EfficientNet has no patch tokens'):
        patch_map(EfficientNet('b0'), torch.rand(1, 3, 32, 32))


def test_regions_are_means_weighted_by_area():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [8.0, 0.0]]])  # 2 channels, 2 x 2 cells
    shares = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.25], [0.75, 0.0]]])
    assert_close(region_means(maps, shares), torch.tensor([[2.0, 4.0], [2.75, 6.0]]))
