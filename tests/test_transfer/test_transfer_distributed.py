"""Two processes over gloo train alike and score as one does."""

import json
import os
import socket
import subprocess
import sys

import pytest
from fixtures.transfer import DETECTION, ROOT, SEGMENTATION, make_scenes


@pytest.mark.dist
def test_two_ranks_score_as_one(tmp_path):
    # Five images over two ranks: one rank has to see an image twice, which must not count twice.
    scenes = make_scenes(tmp_path / 'scenes', train=2, val=5)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torchrun = ['-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={port}']
    reports = {}
    for name, launch in (('one', []), ('two', torchrun)):
        out = tmp_path / f'{name}.json'
        command = [sys.executable, *launch, '-m', 'fixtures.dist_transfer', str(scenes), str(tmp_path / name), str(out)]
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT / 'tests')}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        reports[name] = json.loads(out.read_text())

    assert reports['two']['alike'] == [True, True]
    for path, scores in ((DETECTION, ('coco/bbox_mAP', 'coco/segm_mAP')), (SEGMENTATION, ('mIoU', 'mAcc', 'aAcc'))):
        one, two = (reports[name][path.stem] for name in ('one', 'two'))
        for score in scores:
            assert 0 < one[score] < 100
            assert one[score] != 1
            assert two[score] == pytest.approx(one[score], abs=1e-9), score
