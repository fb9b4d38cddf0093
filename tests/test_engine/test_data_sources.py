"""Trainings on images of every source in repre_mm/datasets/sources: the same steps, also after a real kill -9."""

import json
import os
import re

import pytest
from chaos.zygote import Zygote
from fixtures.data import make_image_folder
from fixtures.places import WRITERS
from fixtures.resuming import CrashAt, SimulatedCrashError, assert_same_end, make_runner
from fixtures.tiny import TINY

OPTIONS = {
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 2,
    'train_dataloader.num_workers': 1,
    'train_dataloader.persistent_workers': True,
}
#: 6 epochs of 10 steps, killed in step 30.
STEPS, KILLED, EVERY = 60, 30, 7
DAMAGED = 'dark/3.jpg'
#: Kind of place -> what the log calls the damaged image there.
NAMES = {
    'folder': '{images}/dark/3.jpg',
    'list': '{images}/dark/3.jpg',
    'tar': '{place}-000.tar:000013.jpg',
    'parquet': '{place}.parquet:13',
    'saved': '{place}:13',
    'lmdb': '{place}.lmdb/dark/3.jpg',
    's3': 's3://repre/train/dark/3.jpg',
}
CONFIG = """
_base_ = '{tiny}'
custom_imports = dict(imports=['chaos.hook'])
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=6)
train_dataloader = dict(num_workers=1, persistent_workers=True)
default_hooks = dict(
    chaos=dict(type='repre_mm.ChaosHook'),
    checkpoint=dict(by_epoch=False, interval={every}),
    knn=None,
    reconstruction=None,
)
"""


def test_a_crash_and_a_resume_on_shards(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    images = make_image_folder(tmp_path / 'images', val=0) / 'train'
    make_runner(images, tmp_path / 'folder', **OPTIONS).train()
    place = WRITERS['tar'](images, tmp_path / 'copy')
    runner = make_runner(place, tmp_path / 'tar', **OPTIONS)
    runner.register_hook(CrashAt(6))  # goes on from step 4
    with pytest.raises(SimulatedCrashError):
        runner.train()
    make_runner(place, tmp_path / 'tar', resume=True, **OPTIONS).train()
    assert_same_end(tmp_path / 'folder', tmp_path / 'tar', 'iter_8.pth')


class Trainings:
    """Runs of tools/train.py on one set of images, of which one is damaged."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.images = make_image_folder(folder / 'images', train=40, val=0) / 'train'
        damaged = self.images / DAMAGED
        damaged.write_bytes(damaged.read_bytes()[:300])
        (folder / 'config.py').write_text(CONFIG.format(tiny=TINY, every=EVERY))
        self.zygote = Zygote(folder)

    def run(self, place: str, work_dir, *more: str, kill: int | None = None) -> tuple[int, str]:
        """Train to the end, or until SIGKILL strikes in step ``kill``; give the exit status and the output."""
        faults = [{'kind': 'kill', 'iteration': kill, 'delay': 0, 'ranks': [0]}] if kill else []
        out, names = self.folder / 'out.log', ('AWS_', 'XDG_CACHE_HOME', 'HF_')
        env = {name: value for name, value in os.environ.items() if name.startswith(names)}
        env |= {'CHAOS_FAULTS': json.dumps(faults), 'CHAOS_JOURNAL': str(self.folder / 'journal')}
        arguments = [str(self.folder / 'config.py'), '--data', place, '--work-dir', str(work_dir), *more]
        status = self.zygote.run(arguments, 1, 0, env, out, timeout=100)
        return status, out.read_text(errors='replace')


@pytest.fixture(scope='module')
def trainings(tmp_path_factory):
    """The folder's training is undisturbed: all others must end as it does."""
    started = Trainings(tmp_path_factory.mktemp('trainings'))
    status, output = started.run(str(started.images), started.folder / 'undisturbed')
    assert status == 0, output[-3000:]
    yield started
    started.zygote.close()


@pytest.fixture
def place(request, trainings, tmp_path, monkeypatch) -> str:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'cache'))
    if request.param == 's3':
        request.getfixturevalue('s3').put(trainings.images, 'repre/train')
        return 's3://repre'
    return WRITERS[request.param](trainings.images, tmp_path / 'copy')


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'place'), [(kind, kind) for kind in NAMES], indirect=['place'])
def test_a_training_is_the_same_from_everywhere(kind, place, trainings, tmp_path):
    run = tmp_path / 'run'
    status, output = trainings.run(place, run, kill=KILLED)
    assert status == -9, output[-3000:]
    name = NAMES[kind].format(images=trainings.images, place=tmp_path / 'copy')
    assert f'cannot read image {name}: ' in output
    status, output = trainings.run(place, run, '--resume')
    assert status == 0, output[-3000:]
    assert re.search(r'resuming from \S+/iter_(21|28)\.pth', output)  # the last may not have been written yet
    assert_same_end(trainings.folder / 'undisturbed', run, f'iter_{STEPS}.pth')
