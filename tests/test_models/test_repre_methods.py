"""The invariants of RePreAlgorithm, for every method on a ViT and on a Swin."""

import copy

import pytest
import torch
from fixtures.methods import METHODS, PASSES, build, views_for
from fixtures.reference import graph_tensors, plain_l1, train
from torch import nn

pytestmark = pytest.mark.parametrize('method', METHODS)


def target_encoder(algorithm: nn.Module) -> nn.Module | None:
    target = getattr(algorithm, 'momentum_encoder', None) or getattr(algorithm, 'encoder_k', None)
    target = getattr(algorithm, 'target_net', None) or target
    return None if target is None else target.module[0]


def count_forwards(model: nn.Module, views: list[torch.Tensor]) -> tuple[int, int]:
    algorithm = getattr(model, 'algorithm', model)
    counts = [0, 0]

    def counter(place: int):
        def count(*_):
            counts[place] += 1

        return count

    algorithm.backbone.register_forward_hook(counter(0))
    target = target_encoder(algorithm)
    if target is not None:
        target.register_forward_hook(counter(1))
    model(views, None, mode='loss')
    return tuple(counts)


def test_no_extra_encoder_pass(method, encoder_name):
    views = views_for(method, encoder_name)
    plain = count_forwards(build(method, encoder_name, repre=False), views)
    assert plain == PASSES[method]
    assert count_forwards(build(method, encoder_name), views) == plain


def test_view_1_is_reconstructed(method, encoder_name):
    model = build(method, encoder_name)
    views = views_for(method, encoder_name)
    out = model(views, None, mode='loss')
    torch.testing.assert_close(out['recon_l1'], plain_l1(model, views[0]).detach(), rtol=1e-5, atol=1e-5)


def test_reconstruction_gradient_is_that_of_one_forward_of_view_1(method, encoder_name):
    model = build(method, encoder_name, loss_weighting=dict(type='FixedWeighting', contrast=0.0, recon=1.0))
    views = views_for(method, encoder_name)
    plain_l1(model, views[0]).backward()
    expected = {name: p.grad.clone() for name, p in model.backbone.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(views, None, mode='loss')['loss'].backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(model.backbone.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-6)


def test_weight_zero_is_bit_identical_to_the_plain_algorithm(method, encoder_name):
    batches = [views_for(method, encoder_name) for _ in range(3)]
    weighting = dict(type='FixedWeighting', contrast=1.0, recon=0.0)

    def run(repre: bool, **options):
        # Drop path draws random numbers in every step.
        model = build(method, encoder_name, repre, seed=3, drop_path=0.3, **options)
        torch.manual_seed(4)
        return train(model, batches)

    plain_losses, plain = run(False)
    losses, state = run(True, loss_weighting=weighting)
    assert len({loss.item() for loss in losses}) == len(losses)
    for ours, theirs in zip(losses, plain_losses, strict=True):
        assert torch.equal(ours, theirs)
    for key, value in plain.items():
        assert torch.equal(state[key], value), key


def test_nothing_heard_stays_behind(method, encoder_name):
    model = build(method, encoder_name)
    keys = set(model.state_dict())
    out = model(views_for(method, encoder_name), None, mode='loss')
    assert graph_tensors(model) == []
    assert [name for name, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks] == []
    copy.deepcopy(model)  # would fail with a graph tensor inside
    assert set(model.state_dict()) == keys
    out['loss'].backward()
    target = target_encoder(model.algorithm)
    assert target is None or all(p.grad is None for p in target.parameters())
