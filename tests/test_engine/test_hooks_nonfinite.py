"""Steps with NaN or infinite gradients are skipped and counted, and too many in a row end the run."""

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import tiny_method
from fixtures.resuming import make_runner
from mmengine.hooks import Hook

from repre_mm.engine import NonFiniteError, NonFiniteHook


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


class Spoil(Hook):
    """NaN into one gradient in some iterations (from 1); keeps the weights and Adam's averages after each."""

    def __init__(self, *iterations: int) -> None:
        self.iterations = iterations
        self.states = []

    def before_train(self, runner) -> None:
        weight = runner.model.backbone.layers[0].attn.qkv.weight
        weight.register_hook(lambda grad: grad * float('nan') if runner.iter + 1 in self.iterations else grad)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # The encoder's: the loss weights are also bounded in the forward.
        weights = torch.cat([p.detach().flatten() for p in runner.model.backbone.parameters()])
        averages = [state['exp_avg'].flatten() for state in runner.optim_wrapper.optimizer.state.values()]
        self.states.append((weights, torch.cat(averages) if averages else None))


def test_a_spoiled_step_changes_nothing_and_is_counted(images, tmp_path):
    runner = make_runner(images, tmp_path)
    runner.register_hook(spoil := Spoil(2, 3))
    runner.train()
    first, second, third, fourth = spoil.states[:4]
    for spoiled in (second, third):
        assert torch.equal(spoiled[0], first[0])
        assert torch.equal(spoiled[1], first[1])
    assert not torch.equal(fourth[0], third[0])
    assert all(torch.isfinite(weights).all() for weights, _ in spoil.states)
    assert runner.message_hub.get_info('skipped_updates') == 2
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'iteration 2: gradients are not finite in 1 of' in log
    assert '(algorithm.backbone.layers.0.attn.qkv.weight); loss=' in log
    assert 'Update skipped (2 in a row, 2 in all)' in log


def test_a_run_beyond_help_stops_with_a_diagnosis(images, tmp_path):
    runner = make_runner(images, tmp_path, **{'default_hooks.non_finite.max_in_row': 2})
    runner.register_hook(Spoil(2, 4, 5))
    with pytest.raises(NonFiniteError, match=r'iteration 5: .*qkv\.weight.* 2 updates in a row .*3 in all.*Lower the'):
        runner.train()


def test_limit_must_be_positive():
    with pytest.raises(ValueError, match='max_in_row=0 must be at least 1'):
        NonFiniteHook(max_in_row=0)


class SpoilBatch(Hook):
    """One NaN into view 2 of the batch's first image, in some iterations (from 1); keeps the buffers around each."""

    priority = 'VERY_HIGH'

    def __init__(self, *iterations: int) -> None:
        self.iterations = iterations
        self.buffers = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.buffers.append({name: buffer.clone() for name, buffer in runner.model.named_buffers()})
        if runner.iter + 1 in self.iterations:
            view = data_batch['inputs'][1] = data_batch['inputs'][1].float()
            view[0, 1, 2, 3] = float('nan')


def test_queues_and_statistics_are_set_back(images, tmp_path):
    """Of MoBY, whose queues would keep the NaN for ever."""
    model = tiny_method('moby', 'vit', repre=True)
    runner = make_runner(images, tmp_path, **{'model': dict(model, _delete_=True)})
    runner.register_hook(spoil := SpoilBatch(3, 4, 6))
    runner.train()
    before, after = spoil.buffers[2], spoil.buffers[3]
    queues = [name for name in before if 'queue' in name]
    assert len(queues) == 3
    for name in before:
        if not name.endswith('momentum_encoder.steps'):
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(spoil.buffers[1][queues[0]], before[queues[0]])
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())
    assert runner.message_hub.get_info('skipped_updates') == 3
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 8


def test_gradient_norm_is_logged(images, tmp_path):
    """That of all gradients together, as torch's clip_grad_norm_ gives it."""
    runner = make_runner(images, tmp_path, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1))
    expected = []

    def note(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        expected.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

    class Note(Hook):
        def before_train(self, runner):
            runner.optim_wrapper.optimizer.register_step_pre_hook(note)

    runner.register_hook(Note())
    runner.train()
    logged = torch.tensor(runner.message_hub.get_scalar('train/grad_norm').data[0])
    torch.testing.assert_close(logged, torch.tensor(expected, dtype=logged.dtype), rtol=1e-5, atol=1e-6)
    assert 'grad_norm: ' in next(tmp_path.glob('*/*.log')).read_text()
