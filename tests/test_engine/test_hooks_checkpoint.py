"""Checkpoints are written beside the training: what is in them, who waits for whom, what a failure does."""

import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fixtures.comparison import training_differences
from fixtures.data import make_image_folder
from fixtures.resuming import assert_same_end, make_runner
from mmengine.hooks import Hook

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.engine import SafeCheckpointHook
from repre_mm.engine.hooks import checkpoint
from repre_mm.engine.resilience import training_state
from repre_mm.engine.resilience.background import run_in_background, wait_for_background

EVERY = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 1}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def test_one_piece_of_work_after_another():
    gate, order = threading.Event(), []
    first = run_in_background(lambda: (gate.wait(20), order.append('first')))
    second = run_in_background(lambda: order.append('second'))
    third = run_in_background(lambda: 1 / 0)
    assert (first.done(), second.done(), order) == (False, False, [])
    gate.set()
    wait_for_background()
    assert order == ['first', 'second']
    with pytest.raises(ZeroDivisionError):
        third.result()


class AfterIteration(Hook):
    """Call a function after an iteration, counted from 1."""

    priority = 'LOWEST'

    def __init__(self, iteration, function) -> None:
        self.iteration, self.function = iteration, function

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            self.function(runner)


def test_same_bytes_as_without_background(images, tmp_path, monkeypatch):
    """Though the weights, the averages of Adam and the log change while the copy waits to be written."""
    monkeypatch.setattr(training_state, 'time', SimpleNamespace(strftime=lambda layout: 'now'))
    found = {}

    def save_twice(runner):
        found['mmengine'] = runner.save_checkpoint(str(tmp_path), 'mmengine.pth', meta=dict(epoch=0, iter=2))
        for name in ('waiting', 'background'):
            hook = SafeCheckpointHook(background=name == 'background')
            hook.before_train(runner)
            gate = threading.Event()
            if hook.background:
                run_in_background(partial(gate.wait, 20))
            hook._write(runner, 'same.pth', dict(epoch=0, iter=2))
            if hook.background:
                with torch.no_grad():
                    for tensor in runner.model.state_dict().values():
                        tensor.zero_()
                for state in runner.optim_wrapper.optimizer.state.values():
                    state['exp_avg'].fill_(7)
                    state['step'].fill_(99)
                runner.message_hub.update_scalar('train/loss', 1e9)
            gate.set()
            wait_for_background()
            found[name] = (tmp_path / 'same.pth').read_bytes()

    runner = make_runner(images, tmp_path, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1))
    runner.register_hook(AfterIteration(2, save_twice))
    runner.train()
    assert found['background'] == found['waiting']
    (tmp_path / 'waiting.pth').write_bytes(found['waiting'])
    ours, upstream = (read_checkpoint(tmp_path / name) for name in ('waiting.pth', 'mmengine.pth'))
    assert list(ours) == list(upstream)
    assert ours['meta'].keys() == upstream['meta'].keys()
    assert training_differences(ours, upstream) == []


def test_training_goes_on_meanwhile_and_the_next_save_waits(images, tmp_path, monkeypatch):
    """Of iterations 1 to 8, each saved. The first save hangs until iteration 2 wants to save."""
    gate, alive, most = threading.Event(), [], []
    real = checkpoint.write_checkpoint

    def slow(data, path):
        alive.append(path)
        most.append(len(alive))
        assert gate.wait(20)
        real(data, path)
        alive.remove(path)

    monkeypatch.setattr(checkpoint, 'write_checkpoint', slow)
    progress = []

    def look(runner):
        progress.append(sorted(path.name for path in tmp_path.glob('*.pth')))
        threading.Timer(0.3, gate.set).start()

    runner = make_runner(images, tmp_path, **EVERY)
    runner.register_hook(AfterIteration(1, look))
    runner.train()
    assert progress == [[]]  # iteration 1 was over before its checkpoint was there
    assert most == [1] * 8
    assert {path.name for path in tmp_path.glob('*.pth')} == {'iter_6.pth', 'iter_7.pth', 'iter_8.pth'}
    assert alive == []  # the run ends after its last save (the thread itself may take a moment more)
    monkeypatch.undo()
    make_runner(images, tmp_path / 'waiting', **EVERY, **{'default_hooks.checkpoint.background': False}).train()
    assert_same_end(tmp_path / 'waiting', tmp_path, 'iter_8.pth')


def test_a_last_checkpoint_that_cannot_be_saved_fails_the_run(images, tmp_path, monkeypatch):
    real = checkpoint.write_checkpoint

    def full(data, path):
        if path.name == 'epoch_2.pth':
            raise CheckpointError(f'cannot write {path}: No space left on device')
        real(data, path)

    monkeypatch.setattr(checkpoint, 'write_checkpoint', full)
    runner = make_runner(images, tmp_path)
    with pytest.raises(CheckpointError, match='the training is done, but its last checkpoint could not be saved'):
        runner.train()
    assert runner.message_hub.get_info('last_ckpt') == str(tmp_path / 'epoch_1.pth')
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')
    assert 'could not save' in next(tmp_path.glob('*/*.log')).read_text()
    monkeypatch.undo()
    make_runner(images, tmp_path, resume=True).train()
    assert read_checkpoint(tmp_path / 'epoch_2.pth')['meta']['epoch'] == 2


def test_the_old_best_goes_after_the_new_one_is_there(images, tmp_path, monkeypatch):
    """A better score in each of three evaluations; the second one's file cannot be written."""
    hook = SafeCheckpointHook(by_epoch=False, save_best='score', rule='greater')
    runner = make_runner(images, tmp_path, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1))
    seen = []
    real = checkpoint.write_checkpoint

    def watch(data, path):
        seen.append(sorted(path.name for path in tmp_path.glob('best*.pth')))
        if len(seen) == 2:
            raise CheckpointError('No space left on device')
        real(data, path)

    def evaluate(runner):
        hook.before_train(runner)
        for score in (1.0, 2.0, 3.0):
            runner.train_loop._iter += 1
            hook.after_val_epoch(runner, {'score': score})
        runner.train_loop._iter -= 3

    monkeypatch.setattr(checkpoint, 'write_checkpoint', watch)
    runner.register_hook(AfterIteration(2, evaluate))
    runner.train()
    assert seen[:3] == [[], ['best_score_iter_2.pth'], ['best_score_iter_2.pth']]
    assert [path.name for path in tmp_path.glob('best*')] == ['best_score_iter_4.pth', 'best_score_iter_4.pth.sha256']


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match='has no argument in_background'):
        SafeCheckpointHook(in_background=True)
