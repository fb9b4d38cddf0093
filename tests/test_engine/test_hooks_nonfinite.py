"""Steps with gradients that are no numbers are skipped, counted, and in the end stop the run."""

import pytest
import torch
from fixtures.data import make_image_folder
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
