"""tests/chaos, small: what it counts, and that it notices what is lost."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fixtures.comparison import training_differences
from mmengine.logging import HistoryBuffer

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize(('method', 'ranks', 'faults'), [('moby', 1, 5), ('dino', 2, 3)])
def test_faults_cost_nothing(method, ranks, faults, tmp_path):
    command = [sys.executable, '-m', 'chaos', '--methods', method, '--ranks', str(ranks), '--jobs', '1']
    command += ['--faults', str(faults), '--folder', str(tmp_path), '--table', str(tmp_path / 'table.md')]
    env = os.environ | {'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, env=env)
    counts = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert counts['faults'] >= faults
    assert counts['resumed'] == counts['identical'] == counts['faults']
    assert counts['lost'] == 0
    rows = re.findall(r'^\| \d+ \| .*\| identical \|$', (tmp_path / 'table.md').read_text(), re.M)
    assert len(rows) == counts['faults']


def checkpoint(weight: torch.Tensor, loss: list[float], exp_avg: float = 0.5) -> dict:
    log = {'train/loss': HistoryBuffer(loss, [1] * len(loss)), 'train/time': HistoryBuffer([random.random()], [1])}
    return {
        'state_dict': {'w': weight, 'queue': torch.arange(3)},
        'optimizer': {'state': {0: {'exp_avg': torch.tensor(exp_avg)}}, 'param_groups': [{'lr': 0.1}]},
        'param_schedulers': [{'last_step': 2, '_last_value': [0.1]}],
        'message_hub': {'log_scalars': log},
        'meta': {'iter': 2, 'epoch': 1, 'time': str(random.random())},
    }


def test_comparison_is_bit_by_bit():
    weight = torch.tensor([0.0, float('nan'), 1.0])
    ours = checkpoint(weight, [1.0, 2.0])
    assert training_differences(ours, checkpoint(weight.clone(), [1.0, 2.0])) == []
    minus = torch.tensor([-0.0, float('nan'), 1.0])
    assert training_differences(ours, checkpoint(minus, [1.0, 2.0])) == ['state_dict.w']
    assert training_differences(ours, checkpoint(weight.double(), [1.0, 2.0])) == ['state_dict.w']
    assert training_differences(ours, checkpoint(weight, [1.0, 2.0000001])) == ['log.train/loss[0]']
    assert training_differences(ours, checkpoint(weight, [1.0, 2.0], exp_avg=0.25)) == ['optimizer.state.0.exp_avg']
    other = checkpoint(weight, [1.0, 2.0])
    del other['state_dict']['queue']
    other['param_schedulers'][0]['_last_value'].append(0.2)
    assert training_differences(ours, other) == [
        'state_dict.queue (in one only)',
        'param_schedulers[0]._last_value (lengths 1 and 2)',
    ]
