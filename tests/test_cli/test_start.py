"""Every tool that computes starts in a prepared process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
#: These read, write or start other tools, without torch.
LIGHT = {'bad_inputs', 'check_data', 'make_toy_scenes', 'paper_tables', 'report'}
COMPUTING = sorted(path for path in TOOLS.glob('*.py') if path.stem not in LIGHT)


@pytest.mark.parametrize('path', COMPUTING, ids=lambda path: path.stem)
def test_tool_is_run_in_a_prepared_process(path):
    assert path.read_text().endswith('    from repre_mm.cli.start import run_tool\n\n    run_tool(main)\n')


def test_waiting_threads_of_an_evaluation_sleep():
    """libgomp shows what it read when torch loaded it."""
    env = {name: value for name, value in os.environ.items() if name != 'OMP_WAIT_POLICY'} | {'OMP_DISPLAY_ENV': 'true'}
    env['PYTHONPATH'] = str(TOOLS.parent)
    done = subprocess.run([sys.executable, TOOLS / 'knn.py'], env=env, capture_output=True, text=True, check=False)
    assert 'required: ENCODER' in done.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert done.stdout == ''
