"""A run that is told to stop saves and can go on exactly."""

import multiprocessing
import os
import signal
import subprocess

import pytest
from fixtures.data import make_image_folder
from fixtures.resuming import assert_same_end, make_runner
from mmengine.hooks import Hook


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


@pytest.fixture(scope='module')
def whole(images, tmp_path_factory):
    """The work dir of an undisturbed run."""
    folder = tmp_path_factory.mktemp('whole')
    make_runner(images, folder).train()
    return folder


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
def test_stops_in_mid_epoch_and_goes_on_exactly(number, images, whole, tmp_path):
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
    assert_same_end(whole, tmp_path / 'parts')


def test_waits_for_the_optimizer_step(images, tmp_path):
    runner = make_runner(images, tmp_path, **{'optim_wrapper.accumulative_counts': 3})
    runner.register_hook(SignalAt(signal.SIGUSR1, 4))
    with pytest.raises(SystemExit):
        runner.train()
    assert runner.iter + 1 == 6
