"""The ``repre`` command."""

import subprocess
import sys
from pathlib import Path

import pytest

from repre_mm.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def repre(*words: str, before: str = 'pass', folder: Path = ROOT) -> subprocess.CompletedProcess:
    code = f'import sys; sys.path.insert(0, {str(ROOT)!r}); {before}; from repre_mm.cli.main import main; main()'
    return subprocess.run([sys.executable, '-c', code, *words], cwd=folder, capture_output=True, text=True, timeout=120)


def test_every_command_is_a_tool():
    assert all((ROOT / 'tools' / f'{file}.py').is_file() for file, _ in COMMANDS.values())


def test_help_imports_no_library():
    forbid = "sys.modules.update(dict.fromkeys(['torch', 'numpy', 'mmengine', 'mmcv', 'cv2']))"
    done = repre('--help', before=forbid)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in [*COMMANDS, 'doctor', 'completion'])


def test_command_does_what_its_tool_does(tmp_path):
    done = repre('toy-scenes', 'nowhere/else', '--train', '-1', folder=tmp_path)
    script = [sys.executable, str(ROOT / 'tools/make_toy_scenes.py'), 'nowhere/else', '--train', '-1']
    expected = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == expected.returncode != 0
    assert done.stderr.replace('repre toy-scenes', 'make_toy_scenes.py').split() == expected.stderr.split()


def test_mixed_families_end_in_one_line():
    other = "import repre_mm.utils.stack as stack; stack.find_family.__defaults__ = (lambda name: '1.0',)"
    done = repre('train', 'x.py', before=other)
    assert done.returncode == 1
    assert done.stderr.startswith('error: OpenMMLab packages that overwrite each other')
    assert len(done.stderr.splitlines()) == 1


def test_completion_knows_the_options_of_every_tool():
    pytest.importorskip('shtab')
    done = repre('completion', 'bash')
    assert done.returncode == 0, done.stderr
    assert '--pretrained' in done.stdout and '--heldout' not in done.stdout
    check = subprocess.run(['bash', '-n'], input=done.stdout, text=True, capture_output=True)
    assert check.returncode == 0, check.stderr
