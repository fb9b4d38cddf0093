"""Every state of the OpenMMLab packages that an environment can be in."""

import subprocess
import sys
from pathlib import Path

import pytest

from repre_mm.utils.stack import StackError, find_family, stack_versions

ROOT = Path(__file__).resolve().parents[2]
ORIGINALS = {'mmengine': '0.10.7', 'mmcv-lite': '2.1.0', 'mmpretrain': '1.2.0'}
FORKS = {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmpretrain': '1.3.6'}


@pytest.mark.parametrize(
    ('installed', 'family'),
    [
        (ORIGINALS, 'openmmlab'),
        ({**ORIGINALS, 'mmdet': '3.3.0', 'mmsegmentation': '1.2.2'}, 'openmmlab'),
        ({'mmengine-lite': '0.10.7', 'mmcv': '2.1.0', 'mmpretrain': '1.2.0'}, 'openmmlab'),
        (FORKS, 'onedl'),
    ],
)
def test_one_family(installed, family):
    assert find_family(installed.get) == family


@pytest.mark.parametrize(
    ('installed', 'parts'),
    [
        ({}, ['none of the OpenMMLab packages', "pip install 'repre_mm[openmmlab]'", 'repre_mm[onedl]']),
        ({'mmengine': '0.10.7'}, ['mmengine 0.10.7', 'not mmcv, mmpretrain', "pip install 'repre_mm[openmmlab]'"]),
        ({'onedl-mmcv': '2.3.6'}, ['not mmengine, mmpretrain', "pip install 'repre_mm[onedl]'"]),
        (
            {**ORIGINALS, **FORKS},
            ['overwrite each other', 'mmengine 0.10.7, onedl-mmengine 0.10.12', 'pip uninstall -y mmengine onedl-mm'],
        ),
        # pip took the user's mmengine for granted and installed the forks' other packages beside it.
        (
            {'mmengine': '0.10.7', 'onedl-mmcv': '2.3.6', 'onedl-mmpretrain': '1.3.6'},
            ['overwrite each other', 'mmengine 0.10.7, onedl-mmcv 2.3.6', 'pip uninstall -y mmengine onedl-mmcv'],
        ),
        (
            {**ORIGINALS, 'mmcv': '2.1.0'},
            ['mmcv 2.1.0, mmcv-lite 2.1.0', 'pip uninstall -y mmengine mmcv mmcv-lite mmpretrain'],
        ),
    ],
)
def test_what_cannot_work_is_named_with_its_fix(installed, parts):
    with pytest.raises(StackError) as caught:
        find_family(installed.get)
    for part in parts:
        assert part in str(caught.value)


def test_versions_name_the_family_that_is_installed():
    versions = stack_versions()
    family = find_family()
    assert ('onedl-mmengine' in versions) == (family == 'onedl')
    assert {'python', 'torch', 'torchvision', 'timm', 'repre_mm'} < set(versions)


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A folder that makes the environment look as if the other family's mmengine were installed too."""
    other = 'mmengine' if find_family() == 'onedl' else 'onedl-mmengine'
    info = tmp_path / f'{other.replace("-", "_")}-9.9.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {other}\nVersion: 9.9\n')
    return tmp_path


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess:
    code = f'import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]; {code}'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)


def test_a_mixture_is_refused_where_registered_names_are_first_looked_up(mixed):
    done = run_python('import repre_mm.registry', mixed)
    assert done.returncode == 1
    assert 'StackError: OpenMMLab packages that overwrite each other' in done.stderr
    assert 'mmengine 9.9' in done.stderr
    assert 'mmengine.registry' not in run_python('import repre_mm.registry', mixed).stderr
