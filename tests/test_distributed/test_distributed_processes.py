"""Two processes over gloo, started as tools/dist_train.sh starts them."""

import json
import subprocess
import sys

import pytest
from fixtures.data import make_image_folder
from fixtures.torchrun import run_on_two_ranks, torchrun

from repre_mm.distributed import init_distributed
from repre_mm.utils.errors import UserError


@pytest.mark.dist
def test_two_ranks_train_alike_and_resume(tmp_path):
    images = make_image_folder(tmp_path / 'images', train=16)
    program, work_dir = ('-m', 'fixtures.ranks', 'training'), tmp_path / 'run'
    run_on_two_ranks(*program, images, work_dir)
    report = json.loads((work_dir / 'report.json').read_text())
    assert (report['ranks'], report['equal'], report['iterations']) == (2, True, 2)
    assert report['first_losses'][0] != report['first_losses'][1], 'both ranks saw the same images'
    run_on_two_ranks(*program, images, work_dir, 'resume')
    report = json.loads((work_dir / 'report.json').read_text())
    assert (report['equal'], report['iterations']) == (True, 4)


def test_missing_launcher_variables_are_named(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match='--launcher pytorch needs the environment variable RANK'):
        init_distributed('pytorch')


@pytest.mark.dist
def test_processes_that_are_started_again_find_each_other(tmp_path):
    done = torchrun('-m', 'fixtures.ranks', 'restart', tmp_path, restarts=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f'{rank}.txt').read_text() for rank in range(2)] == ['3', '3']


@pytest.mark.dist
def test_gradients_of_four_ranks_do_not_depend_on_the_steps_before(tmp_path):
    """Sums of four are made in another order if buckets change, and a resumed run would differ in its first step."""
    done = torchrun('-m', 'fixtures.ranks', 'repeated_step', tmp_path / 'equal.json', ranks=4)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / 'equal.json').read_text()) == [True, True, True]


def test_a_process_ends_complete_and_with_its_status(tmp_path):
    """Without the interpreter's teardown; threads, exit functions and output are waited for all the same."""
    path = tmp_path / 'saved'
    script = f"""
import atexit, sys, threading, time
from pathlib import Path
from repre_mm.distributed import processes as distributed
distributed._joined_gloo = True
def main():
    atexit.register(print, 'exit function')
    threading.Thread(target=lambda: (time.sleep(1), Path({str(path)!r}).touch())).start()
    print('end of main', end=' ')
    sys.exit({{!r}})
distributed.run_to_the_end(main)
print('never reached')
"""
    for given, status, error in ((75, 75, ''), ('error: why', 1, 'error: why\n'), (None, 0, '')):
        path.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, '-c', script.format(given)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (status, 'end of main exit function\n', error)
        assert path.exists()
