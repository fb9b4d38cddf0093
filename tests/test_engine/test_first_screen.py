"""The summary at the start of a training, and what goes to its log file only."""

import logging
import os
import subprocess
import sys
from pathlib import Path

from fixtures.data import make_image_folder

from repre_mm.engine.first_screen import ConsoleFilter

ROOT = Path(__file__).parents[2]


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord('mmengine', level, __file__, 1, message, None, None)


def test_console_shows_warnings_during_the_set_up_and_progress_after_it():
    console = ConsoleFilter()
    assert not console.filter(record(logging.INFO, 'Config:\n...'))
    assert console.filter(record(logging.WARNING, 'a file is damaged'))
    console.setting_up = False
    assert console.filter(record(logging.INFO, 'Epoch(train) [1][1/4]'))
    assert not console.filter(record(logging.WARNING, '"FileClient" will be deprecated in future.'))
    assert not console.filter(record(logging.INFO, 'Exp name: run_2026'))


def test_first_screen_of_a_training(tmp_path):
    images = make_image_folder(tmp_path / 'images')
    config, work_dir = ROOT / 'tests/fixtures/tiny_config.py', tmp_path / 'run'
    command = [sys.executable, ROOT / 'tools/train.py', config, '--data', images, '--work-dir', work_dir, '--amp']
    env = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'OMP_DISPLAY_ENV': 'true'}
    options = ['--epochs', '1', '--cfg-options', 'default_hooks.knn=None']
    done = subprocess.run([*command, *options], env=env, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    first_step = next(i for i, line in enumerate(lines) if 'Epoch(train) [1]' in line)
    assert first_step < 20
    screen = '\n'.join(lines[:first_step])
    for fact in (
        f'config     {config}',
        f'data       8 images under {images}/train',
        'encoder    MoCoV3ViT, 0.0 M parameters',
        'method     RePre on MoCoV3',
        'batch      4',
        'length     2 steps in 1 epochs\n',
        'optimizer  AdamW, learning rate 0.002',
        'device     CPU, threads: 1, bf16',
        'seed       0',
        f'work dir   {work_dir}',
    ):
        assert fact in screen
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr  # what libgomp read when torch loaded it
    assert 'OneDL' not in done.stdout + done.stderr
    assert 'deprecated' not in done.stdout + done.stderr
    log = next(work_dir.glob('*/*.log')).read_text()
    assert 'Config:' in log and 'System environment' in log and 'Hooks will be executed' in log
