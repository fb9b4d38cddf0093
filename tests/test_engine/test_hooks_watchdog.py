"""A process that hangs or dies ends the run with its name; torchrun's restart goes on by itself."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures.comparison import training_differences
from fixtures.data import make_image_folder
from fixtures.torchrun import ROOT, torchrun

from repre_mm.checkpoint import read_checkpoint
from repre_mm.engine import WatchdogHook


def start(work_dir: Path, images: Path, sick: dict, *arguments: str, restarts: int = 0) -> tuple[int, str, float]:
    """tools/train.py on two ranks: the exit status, the output, the seconds."""
    config = work_dir.parent / 'sick.py'
    config.write_text(
        f'_base_ = {str(ROOT / "tests/fixtures/tiny_config.py")!r}\n'
        "custom_imports = dict(imports=['fixtures.hanging'])\n"
        "custom_hooks = [dict(type='repre_mm.SickHook')]\n"
        'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1), watchdog=dict(timeout=15), knn=None)\n'
        'train_dataloader = dict(batch_size=2)\n'
        f'data_root = {str(images)!r}\n'
    )
    program = [ROOT / 'tools/train.py', config, '--launcher', 'pytorch', '--work-dir', work_dir, '--data', images]
    begin = time.monotonic()
    done = torchrun(*program, *arguments, restarts=restarts, SICK=json.dumps(sick))
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begin


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'), train=16)


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize(('how', 'rank'), [('freeze', 1), ('sleep', 0)])
def test_a_hanging_rank_is_named(how, rank, images, tmp_path):
    """Frozen it gives no sign of life; asleep before its third step it is behind the other."""
    status, output, _ = start(tmp_path / 'run', images, {'iteration': 3, 'rank': rank, 'how': how})
    assert status != 0
    # The other process may say the same before torchrun has ended it.
    lines = [line for line in output.splitlines() if 'no step for 15 s' in line]
    words = 'gives no sign of life any more' if how == 'freeze' else 'is behind the others'
    assert lines and all(f'rank {rank} {words}' in line for line in lines)
    # The last note of a frozen process may be a period old.
    assert re.search(rf'^  rank {rank}: step {"[0-3]" if how == "freeze" else "2"}$', output, re.M)
    assert read_checkpoint(tmp_path / 'run/iter_2.pth')['meta']['iter'] == 2


@pytest.mark.slow
@pytest.mark.dist
def test_torchrun_starts_again_and_goes_on_by_itself(images, tmp_path):
    """Though the command line does not say ``--resume``; and ends as the undisturbed run does."""
    never = {'iteration': 0, 'rank': 0, 'how': 'die'}
    assert start(tmp_path / 'whole', images, never)[0] == 0
    sick = {'iteration': 6, 'rank': 1, 'how': 'die', 'once': str(tmp_path / 'happened')}
    status, output, _ = start(tmp_path / 'parts', images, sick, restarts=1)
    assert status == 0, output[-3000:]
    assert (tmp_path / 'happened').exists()
    assert 'resuming from' in output
    whole, parts = (read_checkpoint(tmp_path / name / 'iter_8.pth') for name in ('whole', 'parts'))
    assert training_differences(parts, whole) == []


def test_diagnosis_names_and_places():
    """Notes: signs of life, progress, step, whether busy."""
    hook = WatchdogHook(timeout=60)
    before = {0: [7, 5, 5, False], 1: [7, 4, 4, False]}
    now = {0: [9, 5, 5, False], 1: [9, 4, 4, False]}
    first, *lines = hook._diagnosis(before, now, 2).splitlines()
    assert first.startswith('no step for 60 s: rank 1 is behind the others')
    assert lines == ['  rank 0: step 5', '  rank 1: step 4']
    assert 'rank 1 gives no sign of life' in hook._diagnosis(before, now | {1: before[1]}, 2)
    assert hook._diagnosis(before, now, 3).splitlines()[-1] == '  rank 2: never reported'
    assert hook._diagnosis(before, now | {1: [9, 4, 4, True]}, 2) == ''


def test_one_process_has_no_watchdog():
    hook = WatchdogHook()
    hook.before_train(SimpleNamespace())
    assert hook._thread is None
    hook.after_train(SimpleNamespace())


def test_timeout_must_be_positive():
    with pytest.raises(ValueError, match='timeout=0 must be positive'):
        WatchdogHook(timeout=0)
