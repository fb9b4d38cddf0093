"""Checkpointed and compiled blocks compute what they did before."""

import copy

import pytest
import torch
from fixtures.models import ENCODERS, VIT, make_views, mocov3
from mmpretrain.registry import MODELS
from torch._dynamo.testing import CompileCounter

from repre_mm.engine.optim.blocks import checkpoint_blocks, compile_blocks, encoder_blocks

TIMM = dict(
    type='repre_mm.TimmBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=32,
    patch_size=8,
    embed_dim=32,
    depth=4,
    num_heads=2,
    drop_path_rate=0.3,
)


def make_repre(encoder: str):
    backbone, size = (TIMM, 32) if encoder == 'timm' else ENCODERS[encoder]
    algorithm = mocov3({**backbone, 'drop_path_rate': 0.3})
    model = MODELS.build(
        dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm, neck=dict(type='RePreNeck', out_channels=16))
    )
    model.init_weights()
    return model, size


def step(model, views: list[torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """All losses and gradients of one step."""
    torch.manual_seed(seed)
    model.zero_grad()
    losses = model(views, None, mode='loss')
    losses['loss'].backward()
    return {**losses, **{name: p.grad for name, p in model.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize('encoder', ['vit', 'swin', 'timm'])
def test_checkpointing_changes_no_number(encoder):
    plain, size = make_repre(encoder)
    ours = copy.deepcopy(plain)
    calls = []
    blocks = encoder_blocks(ours.backbone)
    for block in blocks:
        next(block.children()).register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    assert checkpoint_blocks(ours.backbone) == len(blocks) == (6 if encoder == 'vit' else 4)
    views = make_views(size)
    expected, got = step(plain, views, seed=1), step(ours, views, seed=1)
    assert got.keys() == expected.keys()
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert len(calls) == 2 * 2 * len(blocks)  # two views, forward and again in the backward pass
    assert ours.state_dict().keys() == plain.state_dict().keys()


def test_checkpointing_keeps_what_is_heard_and_leaves_evaluation_alone():
    model, size = make_repre('vit')
    images = torch.rand(2, 3, size, size)
    expected = model.reconstruct(images)
    checkpoint_blocks(model.backbone)
    torch.testing.assert_close(model.reconstruct(images), expected, rtol=0, atol=0)
    block = copy.deepcopy(model).backbone.layers[0]
    assert block.forward.args[0].__self__ is block


def test_checkpointing_refuses_batchnorm():
    with pytest.raises(ValueError, match=r'ResNet hold BatchNorm.*step\.checkpoint=False'):
        checkpoint_blocks(MODELS.build(dict(type='ResNet', depth=18)))


@pytest.mark.parametrize(
    ('encoder', 'backend'),
    [
        ('vit', 'eager'),
        pytest.param('timm', 'eager', marks=pytest.mark.slow),
        pytest.param('vit', 'aot_eager', marks=pytest.mark.slow),
        pytest.param('swin', 'eager', marks=pytest.mark.slow),
        pytest.param('vit', 'inductor', marks=pytest.mark.slow),
    ],
)
def test_compiled_blocks_are_heard_as_plain_ones(encoder, backend):
    plain, size = make_repre(encoder)
    plain.backbone.apply(lambda module: setattr(module, 'drop_prob', 0.0))  # compilers draw numbers of their own
    ours = copy.deepcopy(plain)
    compiled = compile_blocks(ours.backbone, backend=backend)
    assert compiled == len(encoder_blocks(plain.backbone))
    for seed in (1, 2):  # another view 1 each time: the taps open anew
        views = make_views(size)
        torch.testing.assert_close(step(ours, views, seed), step(plain, views, seed), rtol=1e-3, atol=1e-4)
    images = torch.rand(2, 3, size, size)
    torch.testing.assert_close(ours.reconstruct(images), plain.reconstruct(images), rtol=1e-4, atol=1e-5)
    assert ours.state_dict().keys() == plain.state_dict().keys()


def test_compiled_code_is_used_and_kept():
    backbone = MODELS.build(VIT)
    counter = CompileCounter()
    compile_blocks(backbone, backend=counter)
    backbone(torch.rand(2, 3, 32, 32))
    count = counter.frame_count
    assert count > 0
    backbone(torch.rand(2, 3, 32, 32))
    assert counter.frame_count == count


def test_blocks_of_a_resnet():
    assert len(encoder_blocks(MODELS.build(dict(type='ResNet', depth=18)))) == 8
