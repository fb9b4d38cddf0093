"""Evaluations on 1, 2 and 4 processes have the same scores; killed ones end with them too."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.evaluations import KILLED
from fixtures.torchrun import run_on_one_rank, torchrun
from PIL import Image

KNN = Path(__file__).parents[2] / 'tools/knn.py'


def faint_classes(root: Path) -> Path:
    """Three classes of greys that overlap, so that scores are neither 0 nor 100 %."""
    random = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 5)):
        for name, grey in (('dark', 90), ('light', 150), ('middle', 120)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.normal(grey + random.normal(0, 30), 25, (40, 48, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f'{index}.png')
    return root


def assert_alike(found, expected) -> None:
    """Equal scores; weights up to rounding."""
    assert found['result'] == expected['result']
    for ours, theirs in zip(found['weights'], expected['weights'], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.dist
def test_scores_do_not_depend_on_the_processes_nor_on_a_kill(config, tmp_path):
    run_on_one_rank('-m', 'fixtures.evaluations', config, faint_classes(tmp_path / 'data'), tmp_path)

    def read(name):
        return json.loads((tmp_path / f'{name}.json').read_text())

    one = read(1)['result']
    for processes in (2, 4):
        several = read(processes)
        assert several['alike'], 'the processes have different results'
        assert set(several['result']) == set(one) == {'null', 'mocov3', 'dino', 'moby'}
        for name, scores in several['result'].items():
            assert_alike(scores, one[name])
    top1 = one['null']['result']['knn']['top1']
    assert all(0 < score < 100 for score in [*top1.values(), one['null']['result']['linear']['top1']])
    saved = {'encode': 'train-', 'sweep': 'probe-sweep.pth', 'refit': 'probe-refit.pth', 'linear': 'linear-moby-v2.pth'}
    for name in KILLED:
        assert not (tmp_path / f'{name}-killed.json').exists()
        assert any(file.startswith(saved[name]) for file in read(f'{name}-saved'))
        assert_alike(read(name)['result'], one['moby' if name == 'linear' else 'null'])
        assert not (tmp_path / f'{name}.state').exists()


@pytest.mark.slow
@pytest.mark.dist
def test_command_under_torchrun(config, data_root, tmp_path):
    out = tmp_path / 'knn.json'
    words = (config, 'random', '--k', '3', '--workers', '0', '--device', 'cpu', '--data')
    done = torchrun(KNN, *words, data_root, '--out', out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('kNN top-1') == 1 and 'k=3  100.00' in done.stdout
    assert done.stderr.count('train:   0%') == 1  # on the main process only
    assert json.loads(out.read_text())['knn']['top1'] == {'3': 100.0}
    done = torchrun(KNN, *words, tmp_path / 'nowhere')
    assert done.returncode != 0
    (error,) = (line for line in done.stderr.splitlines() if line.startswith('error: '))
    assert error.startswith(f'error: there is no folder {tmp_path}/nowhere/train: ')
    assert done.stderr.count('Traceback') == 1  # torchrun's own


@pytest.mark.slow
@pytest.mark.dist
def test_processes_end_in_one_line_when_one_is_killed(tmp_path):
    program = tmp_path / 'killed.py'
    program.write_text(
        'import os, signal, torch, torch.distributed as dist\n'
        'from repre_mm.cli.errors import one_line_errors\n'
        "dist.init_process_group('gloo')\n"
        'with one_line_errors():\n'
        '    if dist.get_rank() == 1:\n'
        '        dist.barrier()\n'
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    dist.barrier()\n'
        '    dist.all_reduce(torch.ones(1))\n'
    )
    done = torchrun(program, ranks=3)
    assert done.returncode != 0
    assert done.stderr.count('error: another process of the group has ended') == 1
    assert 'Traceback (most recent call last):\n  File "' + str(program) not in done.stderr
