"""Belongs to pyproject.toml, the two locks, the wheel and tools/setup_env.sh."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools.config.pyprojecttoml import read_configuration

import repre_mm
from repre_mm.utils.stack import FAMILIES, find_family

ROOT = Path(__file__).resolve().parents[1]
PROJECT = read_configuration(ROOT / 'pyproject.toml')
# Lock: the extras that it is made of.
LOCKS = {
    'requirements.lock': ('onedl', 'detection', 'segmentation', 'onnx', 'plots'),
    'requirements-openmmlab.lock': ('openmmlab',),
}
PYTHONS = ('3.10', '3.11', '3.12')


def lines_of(lock: str) -> list[str]:
    return (ROOT / lock).read_text().splitlines()


def locked_versions(lock: str, python: str) -> dict[str, list[str]]:
    """Versions that a lock installs on one Python: ``{'torch': ['2.11.0'], ...}``."""
    environment = {
        'python_version': python,
        'python_full_version': f'{python}.0',
        'sys_platform': 'linux',
        'platform_machine': 'x86_64',
    }
    versions: dict[str, list[str]] = {}
    for line in lines_of(lock):
        if re.match('[a-z0-9]', line):
            requirement = Requirement(line.rstrip(' \\'))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                versions.setdefault(requirement.name, []).append(str(requirement.specifier).removeprefix('=='))
    return versions


def wanted_requirements(lock: str) -> list[Requirement]:
    project, extras = PROJECT['project'], PROJECT['project']['optional-dependencies']
    lines = project['dependencies'] + PROJECT['dependency-groups']['setup']
    lines += [line for extra in (*LOCKS[lock], 'dev') for line in extras[extra]]
    return [Requirement(line) for line in lines if not line.startswith('repre_mm[')]


@pytest.mark.parametrize('lock', LOCKS)
def test_lock_holds_versions_and_hashes_only(lock):
    """No registry host, index line or path, as the lock must serve every mirror; and nothing unhashed."""
    lines = lines_of(lock)
    allowed = re.compile(r'#.*|[a-z0-9][a-z0-9.-]*==[A-Za-z0-9.!+]+ ;[^/@]* \\|    --hash=sha256:[0-9a-f]{64}( \\)?')
    assert [line for line in lines if not allowed.fullmatch(line)] == []
    assert [line for line in lines if line.startswith('#') and re.search('://|index|find-links', line)] == []
    heads = [number for number, line in enumerate(lines) if re.match('[a-z0-9]', line)]
    assert all('--hash=' in lines[number + 1] for number in heads)


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('lock', LOCKS)
def test_lock_has_one_version_of_everything_wanted(lock, python):
    locked = locked_versions(lock, python)
    assert {name: versions for name, versions in locked.items() if len(versions) != 1} == {}
    for requirement in wanted_requirements(lock):
        (version,) = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f'{requirement} is locked at {version}'


@pytest.mark.parametrize('lock', LOCKS)
def test_lock_has_one_family_and_only_the_headless_opencv(lock):
    locked = locked_versions(lock, '3.11')
    assert find_family(lambda name: locked.get(name, [None])[0]) == LOCKS[lock][0]
    assert {name for name in locked if 'opencv' in name} == {'opencv-python-headless'}


def test_installing_it_touches_no_openmmlab_package():
    """Nor OpenCV, of which several builds unpack into one folder; and no version is pinned."""
    requirements = [Requirement(line) for line in PROJECT['project']['dependencies']]
    members = {name for family in FAMILIES.values() for names in family.values() for name in names}
    assert not {requirement.name for requirement in requirements} & members
    assert not [requirement for requirement in requirements if 'opencv' in requirement.name]
    assert not [requirement for requirement in requirements if '==' in str(requirement.specifier)]


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


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """The clone in a folder of its own, as a build writes beside the sources."""
    folder = tmp_path_factory.mktemp('source')
    for path in ROOT.iterdir():
        if path.name not in ('.git', 'build', 'dist', 'data', 'work_dirs') and path.suffix != '.egg-info':
            (folder / path.name).symlink_to(path)
    return folder


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a wheel or a source distribution ('sdist') from a folder."""
    code = f'import setuptools.build_meta as backend; backend.build_{kind}({str(folder)!r})'
    subprocess.run([sys.executable, '-c', code], cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope='module')
def wheel_files(source, tmp_path_factory) -> list[str]:
    return zipfile.ZipFile(build('wheel', source, tmp_path_factory.mktemp('wheel'))).namelist()


def test_wheel_holds_configs_tools_and_templates(wheel_files):
    names = set(wheel_files)
    for folder in ('configs', 'tools'):
        files = [path for path in (ROOT / folder).rglob('*') if path.suffix in ('.py', '.yml', '.sh')]
        assert {f'repre_mm/.mim/{path.relative_to(ROOT)}' for path in files} <= names
    assert {f'repre_mm/.mim/weights/{path.name}' for path in (ROOT / 'weights').iterdir()} <= names
    assert {'repre_mm/.mim/model-index.yml', 'repre_mm/py.typed'} < names
    assert {f'repre_mm/visualization/templates/{name}' for name in ('report.html', 'report.css')} < names
    assert not [
        name for name in names if '__pycache__' in name or name.startswith(('tests', 'configs', 'tools', 'weights'))
    ]


def test_source_distribution_holds_the_repository_and_builds_the_same_wheel(source, wheel_files, tmp_path):
    for name in ('sdist', 'unpacked', 'wheel'):
        (tmp_path / name).mkdir()
    with tarfile.open(build('sdist', source, tmp_path / 'sdist')) as archive:
        archive.extractall(tmp_path / 'unpacked', filter='data')
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    for folder in ('configs', 'docs', 'tests', 'tools', 'weights'):
        files = [path for path in (ROOT / folder).rglob('*') if path.is_file() and '__pycache__' not in path.parts]
        assert [path for path in files if not (unpacked / path.relative_to(ROOT)).is_file()] == []
    assert {'CHANGELOG.md', 'Makefile', 'model-index.yml', *LOCKS} < {path.name for path in unpacked.iterdir()}
    rebuilt = zipfile.ZipFile(build('wheel', unpacked, tmp_path / 'wheel')).namelist()
    assert sorted(rebuilt) == sorted(wheel_files)


@pytest.fixture
def clone(tmp_path) -> Path:
    """What the set-up script reads, in a folder of its own."""
    (tmp_path / 'tools').mkdir()
    for name in ('tools/setup_env.sh', *LOCKS, 'pyproject.toml'):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def run_setup(clone: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'XDG_CACHE_HOME': str(clone / 'cache'), **environment}
    command = [str(clone / 'tools' / 'setup_env.sh'), *words]
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
        'cat',
        'sha256sum',
    ]:
        (tools / name).symlink_to(shutil.which(name))
    done = run_setup(clone, 'ops', PATH=str(tools), PYTHON='/nowhere/python3', CXX='g++')
    assert done.returncode == 1
    for part in ('/nowhere/python3: no such command', 'no C++17 compiler (g++)', 'no git'):
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
