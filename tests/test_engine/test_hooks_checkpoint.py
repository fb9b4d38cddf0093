"""Checkpoints of a run, written in the background: who waits for whom, and what a failure does."""

import threading

import pytest
from fixtures.comparison import training_differences
from fixtures.data import make_image_folder
from fixtures.full_disk import FullDisk
from fixtures.resuming import AfterIteration, make_runner
from mmengine.hooks import Hook

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.checkpoint.saving import WRITER, wait_until_saved
from repre_mm.engine import SafeCheckpointHook
from repre_mm.engine.hooks import checkpoint

EVERY = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 1}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


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


def test_a_checkpoint_holds_the_state_when_the_save_began(images, tmp_path):
    """Though weights, Adam's averages and the log change while it waits to be written: as mmengine saves it."""

    def save_twice(runner):
        runner.save_checkpoint(str(tmp_path), 'mmengine.pth', meta=dict(epoch=0, iter=2))
        gate = threading.Event()
        WRITER.submit(gate.wait, 20)
        runner.save_checkpoint(str(tmp_path), 'ours.pth', meta=dict(epoch=0, iter=2), backend_args=hook.backend_args)
        for tensor in runner.model.state_dict().values():
            tensor.detach().zero_()
        for state in runner.optim_wrapper.optimizer.state.values():
            state['exp_avg'].fill_(7)
        runner.message_hub.update_scalar('train/loss', 1e9)
        gate.set()
        wait_until_saved()

    hook = SafeCheckpointHook()
    runner = make_runner(images, tmp_path, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1))
    runner.register_hook(AfterIteration(2, save_twice))
    runner.train()
    ours, upstream = (read_checkpoint(tmp_path / name) for name in ('ours.pth', 'mmengine.pth'))
    assert list(ours) == list(upstream)
    assert training_differences(ours, upstream) == []


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
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')
    assert 'could not save' in next(tmp_path.glob('*/*.log')).read_text()
    monkeypatch.undo()
    make_runner(images, tmp_path, resume=True).train()
    assert read_checkpoint(tmp_path / 'epoch_2.pth')['meta']['epoch'] == 2


def test_the_old_best_goes_after_the_new_one_is_there(images, tmp_path, monkeypatch):
    """A better score in each of three evaluations; the second one's file cannot be written."""
    hook = SafeCheckpointHook(by_epoch=False, interval=9, save_best='score', rule='greater')
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
    assert not (tmp_path / 'best_score_iter_3.pth').exists() and (tmp_path / 'best_score_iter_4.pth').is_file()


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match='has no argument in_background'):
        SafeCheckpointHook(in_background=True)


def test_a_run_outlives_a_full_disk_and_resumes_from_the_newest_sound(images, tmp_path, monkeypatch):
    """Of iterations 1 to 8, each saved: 3 and 4 meet a full disk; 8 is damaged before the resume."""
    options = {
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': 2,
    }
    runner = make_runner(images, tmp_path, **options)
    disk = FullDisk(monkeypatch, room=5000)
    disk.on = False
    seen = {}

    def after_train_iter(runner, **kwargs):
        wait_until_saved()
        seen[runner.iter + 1] = {path.name for path in tmp_path.glob('*.pth')}
        disk.on = runner.iter + 2 in (3, 4)

    watch = Hook()
    watch.after_train_iter = lambda runner, batch_idx, data_batch=None, outputs=None: after_train_iter(runner)
    runner.register_hook(watch, 'LOWEST')
    runner.train()
    assert seen[2] == seen[3] == seen[4] == {'iter_1.pth', 'iter_2.pth'}
    assert seen[5] == {'iter_1.pth', 'iter_2.pth', 'iter_5.pth'}
    assert seen[8] == {'iter_1.pth', 'iter_2.pth', 'iter_7.pth', 'iter_8.pth'}
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('could not save') == 2
    assert 'training goes on and will try again after the next interval' in log
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_8.pth')

    (tmp_path / 'iter_8.pth').write_bytes((tmp_path / 'iter_8.pth').read_bytes()[:-1000])
    resumed = make_runner(images, tmp_path, resume=True, **options)
    resumed.train()
    assert resumed.iter == 8
    assert read_checkpoint(tmp_path / 'iter_8.pth')['meta']['iter'] == 8
    log = (tmp_path / resumed.timestamp / f'{resumed.timestamp}.log').read_text()
    assert 'passed over: cannot read' in log
    assert f'resuming from {tmp_path / "iter_7.pth"}' in log
