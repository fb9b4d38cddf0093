"""A run that is told to stop saves and can go on exactly; two runs never share a work dir."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fixtures.data import make_image_folder
from fixtures.resuming import assert_same_end, make_runner
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, Dataset

from repre_mm.engine.resilience.lock import WorkDirInUseError, lock_work_dir
from repre_mm.engine.resilience.replay import make_replayable


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


class SignalAt(Hook):
    """A signal to this process and to its data-loading workers, in an iteration (from 1)."""

    def __init__(self, number: int, iteration: int) -> None:
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 == self.iteration:
            for worker in multiprocessing.active_children():
                # Through another process: they obey their parent.
                subprocess.run(['kill', f'-{self.number.value}', str(worker.pid)], check=True)
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_stops_in_mid_epoch_and_goes_on_exactly(number, images, tmp_path):
    workers = {'train_dataloader.num_workers': 1, 'train_dataloader.persistent_workers': True}
    options = {} if number == signal.SIGUSR1 else workers
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    runner = make_runner(images, tmp_path / 'parts', **options)
    runner.register_hook(SignalAt(number, 6))
    with pytest.raises(SystemExit) as stop:
        runner.train()
    assert stop.value.code == 75
    assert runner.iter + 1 == 6
    assert (tmp_path / 'parts/stopped.pth').is_file()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)] == before
    del runner
    make_runner(images, tmp_path / 'parts', resume=True, **options).train()
    make_runner(images, tmp_path / 'whole').train()
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts')


def test_waits_for_the_optimizer_step(images, tmp_path):
    runner = make_runner(images, tmp_path, **{'optim_wrapper.accumulative_counts': 3})
    runner.register_hook(SignalAt(signal.SIGUSR1, 4))
    with pytest.raises(SystemExit):
        runner.train()
    assert runner.iter + 1 == 6


class Numbers(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return index


def test_workers_obey_their_parent_only():
    """They outlive a signal to all processes of a job; but a process that ends waits for those that it terminates."""
    before = set(multiprocessing.active_children())
    loader = DataLoader(Numbers(), batch_size=2, num_workers=1, persistent_workers=True)
    make_replayable(loader, seed=0, rank=0)
    batches = iter(loader)
    assert next(batches).tolist() == [0, 1]
    (worker,) = set(multiprocessing.active_children()) - before
    for name in ('TERM', 'USR1'):
        subprocess.run(['kill', f'-{name}', str(worker.pid)], check=True)
    assert [batch.tolist() for batch in batches] == [[2, 3], [4, 5], [6, 7]]
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0


def hold(work_dir: Path, claimed) -> None:
    lock_work_dir(work_dir)
    claimed.set()
    time.sleep(99)


def test_second_run_is_refused_until_the_first_is_dead(tmp_path):
    context = multiprocessing.get_context('fork')
    claimed = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, claimed))
    holder.start()
    try:
        assert claimed.wait(60)
        with pytest.raises(WorkDirInUseError, match=rf'another training .* \(pid {holder.pid} on .* --work-dir'):
            lock_work_dir(tmp_path)
    finally:
        holder.kill()  # without a chance to clean up
        holder.join()
    lock_work_dir(tmp_path)
    lock_work_dir(tmp_path)  # the same process may go on in its own folder


def test_only_the_main_rank_locks(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    lock_work_dir(tmp_path)
    assert list(tmp_path.iterdir()) == []
