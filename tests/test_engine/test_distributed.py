"""Two processes over gloo, started as tools/dist_train.sh starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.data import make_image_folder

from repre_mm.engine import init_distributed

ROOT = Path(__file__).parents[2]


def torchrun(script: Path, *args: str) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={port}']
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*command, str(script), *args], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.dist
def test_two_ranks_train_alike_and_resume(tmp_path):
    images = make_image_folder(tmp_path / 'images', train=16)
    script, work_dir = ROOT / 'tests/fixtures/dist_train.py', tmp_path / 'run'
    torchrun(script, str(images), str(work_dir))
    report = json.loads((work_dir / 'report.json').read_text())
    assert (report['ranks'], report['equal'], report['iterations']) == (2, True, 2)
    assert report['first_losses'][0] != report['first_losses'][1], 'both ranks saw the same images'
    torchrun(script, str(images), str(work_dir), '--resume')
    report = json.loads((work_dir / 'report.json').read_text())
    assert (report['equal'], report['iterations']) == (True, 4)


def test_missing_launcher_variables_are_named(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match='--launcher pytorch needs the environment variables RANK, WORLD_SIZE'):
        init_distributed('pytorch')
