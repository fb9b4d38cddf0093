"""A skipped step leaves no trace in the model, is kept, and says where it broke when it is run again."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import tiny_method
from fixtures.resuming import make_runner
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import nn

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.engine.resilience.nonfinite_trace import replay_step, trace_step
from repre_mm.engine.resilience.replay import random_states

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


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


@pytest.fixture(scope='module')
def broken(images, tmp_path_factory):
    """A run of MoBY, whose queues would keep the NaN for ever: steps 3, 4 and 6 of 8 are spoilt; and its config."""
    torch.set_num_threads(1)
    work_dir = tmp_path_factory.mktemp('broken')
    model = tiny_method('moby', 'vit', repre=True)
    runner = make_runner(images, work_dir, **{'model': dict(model, _delete_=True)})
    runner.register_hook(spoil := SpoilBatch(3, 4, 6))
    runner.train()
    return runner, spoil, work_dir


def test_queues_and_statistics_are_set_back(broken):
    runner, spoil, _ = broken
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


def test_the_first_of_each_row_is_kept(broken):
    _, _, work_dir = broken
    folders = sorted((work_dir / 'nonfinite').iterdir())
    assert [folder.name for folder in folders] == ['iter_3', 'iter_6']
    assert sorted(path.name for path in folders[0].iterdir()) == ['model.pth', 'rank_0.pth']
    log = next(work_dir.glob('*/*.log')).read_text()
    assert log.count('python tools/replay_batch.py') == 2
    kept = read_checkpoint(folders[0] / 'rank_0.pth')
    (step,) = kept['steps']
    assert step['iteration'] == 2
    assert [int(view.isnan().sum()) for view in step['batch']['inputs']] == [0, 1]
    assert all('/train/' in name for name in step['batch']['images'])


def test_replay_finds_the_batch(broken):
    runner, _, work_dir = broken
    config, folder = str(work_dir / 'tiny_config.py'), work_dir / 'nonfinite/iter_3'
    _, trace = replay_step(folder / 'rank_0.pth', config, folder / 'model.pth')
    assert [str(each) for each in trace.batch] == ['view 2: 1 NaN of 6144']
    assert trace.forward[0].where == 'input of algorithm (MoBY)'
    logged = runner.message_hub.get_scalar('train/recon_l1').data[0][2]
    assert trace.losses['recon_l1'] == logged  # view 1 is whole: the very number of the training
    # The projector of the target is not trained, that of the online network is.
    assert 'algorithm.neck.fc0.weight' in trace.parameters


@pytest.mark.slow
def test_the_tool(broken):
    _, _, work_dir = broken
    folder = work_dir / 'nonfinite/iter_6'
    command = [sys.executable, 'tools/replay_batch.py', folder / 'rank_0.pth', work_dir / 'tiny_config.py']
    done = subprocess.run([*command, folder / 'model.pth'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'iteration 6, rank 0 of 1' in done.stdout
    assert 'the batch itself is not finite: view 2: 1 NaN of 6144' in done.stdout
    done = subprocess.run([*command, folder / 'rank_0.pth'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'rank_0.pth holds no model: name the model.pth beside' in done.stderr


def test_a_training_checkpoint_is_no_step(broken):
    _, _, work_dir = broken
    checkpoint = work_dir / 'epoch_2.pth'
    with pytest.raises(CheckpointError, match=r'epoch_2\.pth is no kept step'):
        replay_step(checkpoint, str(work_dir / 'tiny_config.py'), checkpoint)


class Net(nn.Module):
    """Two layers; one of two faults between them."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(4, 3), Act(fault), nn.Linear(3, 1)

    def data_preprocessor(self, data, training):
        return data

    def forward(self, inputs, data_samples, mode):
        return {'loss': self.second(self.act(self.first(inputs))).sum()}

    def parse_losses(self, losses):
        return losses['loss'], losses


class Act(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x):
        # The root of 0 is 0, and its gradient infinite; times 0, NaN.
        return {'none': x, 'forward': x / 0, 'backward': (x * 0).sqrt()}[self.fault]


@pytest.mark.parametrize('fault', ['none', 'forward', 'backward'])
def test_trace_names_the_module(fault):
    model = Net(fault)
    steps = [{'random': random_states(), 'batch': {'inputs': torch.ones(2, 4)}}]
    trace = trace_step(model, steps, OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    if fault == 'none':
        assert (trace.batch, trace.forward, trace.backward, trace.parameters) == ([], [], [], [])
        assert 'the step does not break with this model' in str(trace)
    if fault == 'forward':
        assert str(trace.forward[0]) == 'output of act (Act): 6 infinite of 6'
        assert [each.where for each in trace.forward[1:3]] == ['input of second (Linear)', 'output of second (Linear)']
    if fault == 'backward':
        assert trace.forward == []
        # That of its output is finite: the fault is within.
        assert str(trace.backward[0]) == 'gradient of the output of first (Linear): 6 NaN of 6'
        assert trace.parameters == ['first.weight', 'first.bias']
        assert 'forward: all values are finite' in str(trace)


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


def test_only_the_last_rows_are_kept(images, tmp_path):
    runner = make_runner(images, tmp_path, **{'default_hooks.non_finite.keep': 1})
    runner.register_hook(SpoilBatch(2, 5))
    runner.train()
    assert [path.name for path in (tmp_path / 'nonfinite').iterdir()] == ['iter_5']
