"""pyproject.toml, requirements.lock and the set-up script agree, and the script refuses what it must."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools.config.pyprojecttoml import read_configuration

import repre_mm

ROOT = Path(__file__).resolve().parents[1]
PROJECT = read_configuration(ROOT / 'pyproject.toml')
LOCK = (ROOT / 'requirements.lock').read_text().splitlines()
PYTHONS = ('3.10', '3.11', '3.12')


def locked_versions(python: str) -> dict[str, list[str]]:
    """Versions that the lock installs on one Python: ``{'torch': ['2.11.0'], ...}``."""
    environment = {
        'python_version': python,
        'python_full_version': f'{python}.0',
        'sys_platform': 'linux',
        'platform_machine': 'x86_64',
    }
    versions: dict[str, list[str]] = {}
    for line in LOCK:
        if re.match('[a-z0-9]', line):
            requirement = Requirement(line.rstrip(' \\'))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                versions.setdefault(requirement.name, []).append(str(requirement.specifier).removeprefix('=='))
    return versions


def wanted_requirements() -> list[Requirement]:
    project = PROJECT['project']
    lines = project['dependencies'] + project['optional-dependencies']['dev'] + PROJECT['dependency-groups']['setup']
    return [Requirement(line) for line in lines]


def test_lock_holds_versions_and_hashes_only():
    """No registry host, index line or path, as the lock must serve every mirror; and nothing unhashed."""
    allowed = re.compile(r'#.*|[a-z0-9][a-z0-9.-]*==[A-Za-z0-9.!+]+ ;[^/@]* \\|    --hash=sha256:[0-9a-f]{64}( \\)?')
    assert [line for line in LOCK if not allowed.fullmatch(line)] == []
    assert [line for line in LOCK if line.startswith('#') and re.search('://|index|find-links', line)] == []
    heads = [number for number, line in enumerate(LOCK) if re.match('[a-z0-9]', line)]
    assert all('--hash=' in LOCK[number + 1] for number in heads)


@pytest.mark.parametrize('python', PYTHONS)
def test_lock_has_one_version_of_everything_wanted(python):
    locked = locked_versions(python)
    assert {name: versions for name, versions in locked.items() if len(versions) != 1} == {}
    for requirement in wanted_requirements():
        (version,) = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f'{requirement} is locked at {version}'


@pytest.mark.parametrize('python', PYTHONS)
def test_lock_has_only_the_headless_opencv(python):
    assert {name for name in locked_versions(python) if 'opencv' in name} == {'opencv-python-headless'}


def test_supported_pythons_are_the_locked_ones():
    supported = Requirement(f'python{PROJECT["project"]["requires-python"]}').specifier
    assert [f'3.{minor}' for minor in range(20) if supported.contains(f'3.{minor}')] == list(PYTHONS)


def test_version_is_read_from_the_package():
    assert PROJECT['project']['version'] == repre_mm.__version__


def test_every_folder_with_code_is_packaged():
    """A folder without ``__init__.py`` works from the clone and is missing from the wheel."""
    packaged = PROJECT['tool']['setuptools']['packages']
    with_code = {'.'.join(path.parent.relative_to(ROOT).parts) for path in (ROOT / 'repre_mm').rglob('*.py')}
    assert set(packaged) == with_code


@pytest.fixture
def clone(tmp_path) -> Path:
    """What the set-up script reads, in a folder of its own."""
    (tmp_path / 'tools').mkdir()
    for name in ('tools/setup_env.sh', 'requirements.lock', 'pyproject.toml'):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def run_setup(clone: Path, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'XDG_CACHE_HOME': str(clone / 'cache'), **environment}
    command = [str(clone / 'tools' / 'setup_env.sh')]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_setup_lists_all_that_is_missing_at_once(clone):
    tools = clone / 'bin'
    tools.mkdir()
    for name in [
        'bash',
        'sh',
        'env',
        'dirname',
        'mkdir',
        'uname',
        'flock',
        'rm',
        'df',
        'awk',
        'stat',
        'realpath',
    ]:
        (tools / name).symlink_to(shutil.which(name))
    done = run_setup(clone, PATH=str(tools), PYTHON='/nowhere/python3', CXX='g++')
    assert done.returncode == 1
    for part in ('/nowhere/python3: no such command', 'no C++ compiler (g++)', 'no git'):
        assert part in done.stderr
    assert not (clone / '.venv').exists()


def test_setup_refuses_a_python_that_is_too_old(clone):
    old = clone / 'python3'
    # The real interpreter under another version number.
    old.write_text(f'#!/bin/sh\n(echo "import sys; sys.version_info = (3, 9, 1)"; cat) | {sys.executable} -\n')
    old.chmod(0o755)
    done = run_setup(clone, PYTHON=str(old))
    assert done.returncode == 1
    assert '3.10, 3.11 or 3.12 is needed' in done.stderr


def test_setup_leaves_a_foreign_environment_alone(clone):
    (clone / '.venv').mkdir()
    (clone / '.venv' / 'mine').write_text('mine')
    done = run_setup(clone)
    assert done.returncode == 1
    assert 'was not made by this script' in done.stderr
    assert [path.name for path in (clone / '.venv').iterdir()] == ['mine']
