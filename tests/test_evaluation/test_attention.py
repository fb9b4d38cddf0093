"""Attention of the class token against a direct computation; what is refused, and what to do instead."""

import pytest
import torch
from fixtures.encoders import DEPTH, HEADS, WIDTH, filled, mm_swin, mm_vit, moco_vit
from torch.testing import assert_close

from repre_mm.evaluation.attention import class_attention, class_token_leads, level_map, similarity_map
from repre_mm.models.backbones import TimmBackbone
from repre_mm.utils.errors import UserError


def images(size=32, batch=2):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def timm_vit(**kwargs):
    sizes = dict(img_size=32, patch_size=8, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)
    return filled(TimmBackbone('vit_small_patch16_224', **{**sizes, **kwargs}))


@pytest.mark.parametrize(('build', 'layer'), [(mm_vit, -1), (moco_vit, 1)])
def test_class_attention_equals_direct_computation(build, layer):
    encoder, inputs = build(), images()
    # By hand: tokens that enter the block, its norm, then q of the class token and k of every token, head by head.
    block = encoder.layers[layer]
    entering = []
    handle = block.register_forward_pre_hook(lambda module, args: entering.append(args[0]))
    encoder(inputs)
    handle.remove()
    tokens = block.ln1(entering[0])
    weight, bias, d = block.attn.qkv.weight, block.attn.qkv.bias, WIDTH // HEADS
    expected = torch.empty(2, HEADS, 4, 4)
    for head in range(HEADS):
        q, k = (
            tokens @ weight[part * WIDTH + head * d :][:d].T + bias[part * WIDTH + head * d :][:d] for part in (0, 1)
        )
        scores = torch.einsum('bd,bnd->bn', q[:, 0], k) / d**0.5
        expected[:, head] = scores.softmax(1)[:, 1:].reshape(2, 4, 4)
    assert_close(class_attention(encoder, inputs, layer), expected.detach())


@pytest.mark.parametrize('options', [{}, {'qk_norm': True}, {'reg_tokens': 2}], ids=str)
def test_class_attention_of_timm_equals_what_its_own_softmax_gives(options):
    encoder, inputs = timm_vit(**options), images()
    attention, heard = encoder.model.blocks[-1].attn, []
    attention.fused_attn = False  # then the probabilities pass through attn_drop
    handle = attention.attn_drop.register_forward_hook(lambda module, args, output: heard.append(args[0]))
    encoder(inputs)
    handle.remove()
    expected = heard[0][:, :, 0, -16:].reshape(2, HEADS, 4, 4)
    assert_close(class_attention(encoder, inputs), expected.detach())


def test_maps_of_images_that_are_not_square():
    inputs = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert class_attention(mm_vit(img_size=(32, 48)), inputs).shape == (1, HEADS, 4, 6)


def test_nothing_stays_behind():
    encoder = mm_vit()
    encoder.layers[0].train()
    class_attention(encoder, images())
    assert encoder.layers[0].training and not encoder.layers[1].training
    assert not encoder.layers[-1].attn.qkv._forward_hooks


@pytest.mark.parametrize('build', [mm_swin, timm_vit], ids=['swin', 'timm'])
def test_similarity_is_the_cosine_with_the_mean_cell(build):
    encoder, inputs = build(), images(64 if build is mm_swin else 32)
    cells = level_map(encoder, inputs)
    got = similarity_map(encoder, inputs)
    for row, column in [(0, 0), (1, 2)]:
        a, b = cells[0, :, row, column], cells[0].flatten(1).mean(1)
        assert_close(got[0, row, column], a @ b / (a.norm() * b.norm()))


def test_who_has_a_leading_class_token():
    assert class_token_leads(mm_vit(out_type='cls_token'))
    assert not class_token_leads(mm_vit(out_type='avg_featmap'))
    assert class_token_leads(timm_vit())
    assert not class_token_leads(timm_vit(global_pool='avg', class_token=False))
    assert not class_token_leads(mm_swin())


@pytest.mark.parametrize('build', [mm_swin, lambda: timm_vit(global_pool='avg', class_token=False)])
def test_encoder_without_class_token_is_refused(build):
    with pytest.raises(UserError, match=r"no class token.*'similarity'"):
        class_attention(build(), images(64))


def test_unknown_layer_is_refused():
    for function, layer in [(class_attention, DEPTH), (similarity_map, -DEPTH - 1)]:
        with pytest.raises(UserError, match=f'no layer {layer}: choose from 0 to {DEPTH - 1}'):
            function(mm_vit(), images(), layer)


def test_attention_of_an_unknown_kind_is_refused():
    encoder = mm_vit()
    encoder.layers[-1].attn = torch.nn.Identity()
    with pytest.raises(UserError, match='by Identity, whose queries and keys are unknown'):
        class_attention(encoder, images())
