"""The gradients of both losses at each block are those of a plain backward pass, and measuring changes no training."""

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import build
from fixtures.models import ENCODERS, make_views
from fixtures.resuming import assert_same_end, make_runner

from repre_mm.engine import GradientBalanceHook
from repre_mm.engine.hooks.gradient_balance import gradient_balance
from repre_mm.models.taps import encoder_levels
from repre_mm.utils.errors import UserError
from repre_mm.visualization.runs import read_curves

HOOK = dict(type='repre_mm.GradientBalanceHook', interval=3)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def plain_gradients(method, encoder, contrast, recon):
    """One vector per block, by a training step with fixed weights."""
    fixed = dict(type='repre_mm.FixedWeighting', contrast=contrast, recon=recon)
    model = build(method, encoder, loss_weighting=fixed)
    model(make_views(ENCODERS[encoder][1]), None, mode='loss')['loss'].backward()
    blocks = encoder_levels(model.backbone).modules
    return [torch.cat([p.grad.flatten() for p in b.parameters() if p.requires_grad]) for b in blocks]


@pytest.mark.parametrize(('method', 'encoder'), [('mocov3', 'vit'), ('simclr', 'swin')])
def test_numbers_are_those_of_a_plain_backward_pass(method, encoder):
    model = build(method, encoder, loss_weighting=dict(type='repre_mm.FixedWeighting', contrast=0.5, recon=7.0))
    blocks, heard = encoder_levels(model.backbone).modules, {}

    def listen(module, losses, output):
        heard.update(gradient_balance(blocks, losses, list(output[1].values())))

    model.loss_weighting.register_forward_hook(listen)
    model(make_views(ENCODERS[encoder][1]), None, mode='loss')
    expected = zip(plain_gradients(method, encoder, 0.5, 0.0), plain_gradients(method, encoder, 0.0, 7.0), strict=True)
    for i, (contrast, recon) in enumerate(expected, 1):
        norms = contrast.norm().item(), recon.norm().item()
        assert norms[0] > 0
        assert norms[1] > 0
        cosine = torch.nn.functional.cosine_similarity(contrast, recon, dim=0).item()
        assert heard[f'grad_norm_contrast_block_{i}'] == pytest.approx(norms[0], rel=1e-4)
        assert heard[f'grad_norm_recon_block_{i}'] == pytest.approx(norms[1], rel=1e-4)
        assert heard[f'grad_share_recon_block_{i}'] == pytest.approx(norms[1] / sum(norms), rel=1e-4)
        assert heard[f'grad_cosine_block_{i}'] == pytest.approx(cosine, abs=1e-4)
    assert len(heard) == 4 * len(blocks)


def test_a_block_that_the_pixels_do_not_reach_has_share_zero():
    blocks = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    shallow = blocks[0](torch.ones(1, 2))
    losses = blocks[1](shallow).sum(), shallow.square().sum()
    found = gradient_balance(blocks, losses, torch.ones(2))
    assert found['grad_share_recon_block_2'] == found['grad_cosine_block_2'] == 0
    assert 0 < found['grad_share_recon_block_1'] < 1
    (losses[0] + losses[1]).backward()  # the graphs are whole


@pytest.mark.parametrize('amp', [False, True])
def test_training_is_the_same_and_curves_are_written(images, tmp_path, amp):
    make_runner(images, tmp_path / 'without', amp=amp).train()
    runner = make_runner(images, tmp_path / 'with', amp=amp, custom_hooks=[HOOK])
    runner.train()
    assert_same_end(tmp_path / 'with', tmp_path / 'without')
    curves = read_curves(tmp_path / 'with')
    for kind in ('norm_contrast', 'norm_recon', 'share_recon', 'cosine'):
        series = curves[f'grad_{kind}_block_4']
        assert series.steps == [1, 4, 7]
        assert series.unit == 'iteration'
    assert 0 < curves['grad_share_recon_block_1'].values[0] < 1
    assert not runner.model.loss_weighting._forward_hooks


def test_what_cannot_be_measured_is_refused(images, tmp_path):
    with pytest.raises(UserError, match='interval=0 must be at least 1'):
        GradientBalanceHook(0)
    runner = make_runner(images, tmp_path / 'compiled', custom_hooks=[HOOK], **{'default_hooks.step.compile': True})
    with pytest.raises(UserError, match=r'default_hooks\.step\.compile=False'):
        runner.train()
    runner = make_runner(images, tmp_path / 'plain', custom_hooks=[HOOK])
    runner.model = runner.model.algorithm
    with pytest.raises(UserError, match='has one: remove the hook'):
        GradientBalanceHook().before_train(runner)
