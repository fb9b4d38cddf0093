"""Trainings on images of every source in repre_mm/datasets/sources: the same steps, also after a crash."""

import pytest
from fixtures.data import make_image_folder
from fixtures.places import WRITERS
from fixtures.resuming import CrashAt, SimulatedCrashError, assert_same_end, make_runner

OPTIONS = {
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 2,
    'train_dataloader.num_workers': 1,
    'train_dataloader.persistent_workers': True,
}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Images, and the work dir of a training of 8 steps on their folder."""
    root = make_image_folder(tmp_path_factory.mktemp('images'), val=0)
    work_dir = tmp_path_factory.mktemp('folder')
    make_runner(root, work_dir, **OPTIONS).train()
    return root / 'train', work_dir


@pytest.fixture
def place(request, images, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return WRITERS[request.param](images[0], tmp_path / 'copy')


def crash_and_resume(place, work_dir):
    runner = make_runner(place, work_dir, **OPTIONS)
    runner.register_hook(CrashAt(6))  # goes on from step 4
    with pytest.raises(SimulatedCrashError):
        runner.train()
    make_runner(place, work_dir, resume=True, **OPTIONS).train()


@pytest.mark.parametrize(
    'place',
    ['tar', *(pytest.param(kind, marks=pytest.mark.slow) for kind in WRITERS if kind not in ('folder', 'csv', 'tar'))],
    indirect=True,
)
def test_a_training_is_the_same_from_everywhere(place, images, tmp_path):
    crash_and_resume(place, tmp_path / 'run')
    assert_same_end(images[1], tmp_path / 'run', 'iter_8.pth')


@pytest.mark.slow
def test_a_training_is_the_same_from_s3(images, tmp_path, monkeypatch, s3):
    s3.put(images[0], 'repre/train')
    crash_and_resume('s3://repre', tmp_path / 'run')
    assert_same_end(images[1], tmp_path / 'run', 'iter_8.pth')
