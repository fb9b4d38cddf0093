"""Attention in windows."""

import pytest
import torch
from mmpretrain.models import VisionTransformer

from repre_mm.models import WindowedViT

ARCH = dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32), img_size=32, patch_size=8)


def make(**kwargs) -> WindowedViT:
    encoder = WindowedViT(**ARCH, **kwargs)
    encoder.init_weights()
    encoder.eval()
    return encoder


def test_parameters_are_those_of_the_plain_encoder():
    ours, plain = make(global_blocks=(1,)), VisionTransformer(**ARCH)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}


def test_one_window_over_all_is_global_attention():
    windowed, everywhere = make(window_size=4, global_blocks=()), make(global_blocks=(0, 1))
    everywhere.load_state_dict(windowed.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(windowed(images)[0], everywhere(images)[0])


def test_global_attention_is_that_of_the_plain_encoder_without_a_class_token():
    ours = make(global_blocks=(0, 1))
    plain = VisionTransformer(**ARCH, out_type='featmap', with_cls_token=False)
    plain.eval()
    state = ours.state_dict()
    state.pop('cls_token')
    state['pos_embed'] = state['pos_embed'][:, 1:]
    plain.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(images)[0], plain(images)[0])


def test_a_window_sees_nothing_of_another_unless_a_block_is_global():
    images = torch.randn(1, 3, 32, 32)
    changed = images.clone()
    changed[..., 16:, 16:] += 1  # the lower right of four windows
    for blocks, isolated in (((), True), ((1,), False)):
        encoder = make(window_size=2, global_blocks=blocks)
        before, after = (encoder(x)[0][..., :2, :2] for x in (images, changed))
        assert torch.equal(before, after) is isolated


def test_padding_is_zeros_after_the_norm():
    """5 x 4 patches in windows of 4: the fifth row attends to itself and to zeros, as in ViTDet."""
    encoder = make(window_size=4, global_blocks=())
    block = encoder.layers[0]
    normed = torch.randn(1, 20, 16)
    attended = encoder._attend_in_windows(block.attn, normed, (5, 4))
    expected = block.attn(torch.cat([normed[:, 16:], torch.zeros(1, 12, 16)], dim=1))[:, :4]
    torch.testing.assert_close(attended[:, 16:], expected)


def test_other_sizes_train_and_the_class_token_is_left_out():
    encoder = make(window_size=3, global_blocks=(1,))
    (out,) = encoder(torch.randn(2, 3, 40, 56))
    assert out.shape == (2, 16, 5, 7)
    out.sum().backward()
    unused = [
        name for name, parameter in encoder.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert not unused


def test_wrong_blocks_and_windows_are_refused():
    with pytest.raises(ValueError, match=r'global_blocks=\[2, 5, 8, 11\]: the encoder has blocks 0 to 1'):
        WindowedViT(**ARCH)
    with pytest.raises(ValueError, match='window_size must be at least 1'):
        make(window_size=0, global_blocks=())
