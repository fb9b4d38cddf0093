"""The doctor: faults are put in by hand, and each must come out with its level and a fix."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from repre_mm import doctor
from repre_mm.doctor import Finding

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ('version', 'level'),
    [((3, 9, 18), 'error'), ((3, 10, 0), 'ok'), ((3, 12, 9), 'ok'), ((3, 13, 0), 'error')],
)
def test_python_range(version, level):
    finding = doctor.check_python(version)
    assert finding.level == level
    assert finding.value.startswith('.'.join(map(str, version)))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes an installed package 'sickly' with a given source; returns the function that makes it."""

    def make(source: str, needed: bool = True) -> str:
        (tmp_path / 'sickly.py').write_text(source)
        info = tmp_path / 'sickly-1.5.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: sickly\nVersion: 1.5\n')
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, 'sickly', raising=False)
        monkeypatch.setitem(doctor.PACKAGES, 'sickly', needed)
        return 'sickly'

    yield make
    sys.modules.pop('sickly', None)


def test_package_that_works_reports_its_build(package):
    label = package("__version__ = '1.5+cu130'")
    assert doctor.check_package(label, {'sickly': '==1.*'}) == Finding('sickly', '1.5+cu130')


@pytest.mark.parametrize(('needed', 'level'), [(True, 'error'), (False, 'warning')])
def test_package_that_does_not_import(package, needed, level):
    finding = doctor.check_package(package("raise OSError('libx.so: no such file\\nmore')", needed), {})
    assert finding.level == level
    assert finding.value == '1.5 does not import: OSError: libx.so: no such file'
    assert finding.fix


def test_package_of_another_version(package):
    finding = doctor.check_package(package(''), {'sickly': '>=2,<3'})
    assert finding.level == 'error'
    assert '1.5' in finding.value and '<3,>=2' in finding.value.replace('>=2,<3', '<3,>=2')
    assert 'make clean-env setup' in finding.fix


def test_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, 'distributions_of', lambda module: {})
    finding = doctor.check_package('mmdet', {})
    assert (finding.level, finding.value) == ('warning', 'mmdet is not installed')
    assert 'only detection and segmentation need it: `make setup-ops`' in finding.fix


def test_family_is_reported_and_a_mixture_is_an_error():
    originals = {'mmengine': '0.10.7', 'mmcv-lite': '2.1.0', 'mmpretrain': '1.2.0'}
    assert doctor.check_family(originals.get) == Finding('family', 'openmmlab')
    finding = doctor.check_family({**originals, 'onedl-mmcv': '2.3.6'}.get)
    assert finding.level == 'error'
    assert 'pip uninstall -y mmengine mmcv-lite onedl-mmcv mmpretrain' in finding.value


def test_two_builds_of_opencv_are_a_warning():
    assert doctor.check_opencv({'opencv-python': '5'}.get) is None
    finding = doctor.check_opencv({'opencv-python': '5', 'opencv-python-headless': '5'}.get)
    assert finding.level == 'warning'
    assert 'opencv-python and opencv-python-headless' in finding.value


def test_mmcv_without_ops_is_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    finding = doctor.check_mmcv_ops()
    assert finding.level == 'warning'
    assert finding.value.startswith('NMS fails: ModuleNotFoundError: import of mmcv.ops halted')
    assert 'make setup-ops' in finding.fix


def test_mmcv_with_wrong_ops_is_a_warning(monkeypatch):
    wrong = SimpleNamespace(nms=lambda boxes, scores, iou_threshold: (boxes, torch.arange(3)))
    monkeypatch.setitem(sys.modules, 'mmcv.ops', wrong)
    assert doctor.check_mmcv_ops().value == 'NMS gives wrong boxes'


def test_mmcv_ops_of_this_installation():
    pytest.importorskip('mmcv._ext', reason='mmcv was installed without its ops', exc_type=ImportError)
    assert doctor.check_mmcv_ops().level == 'ok'


def test_devices_name_the_cores(monkeypatch):
    monkeypatch.setattr(doctor.os, 'sched_getaffinity', lambda pid: {0, 1, 2})
    assert doctor.check_devices()[0].value.startswith('3 cores')


def test_disk(monkeypatch):
    free = SimpleNamespace(free=6 * 2**30)
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda folder: free)
    assert doctor.check_disk().level == 'ok'
    free.free = 2**30
    finding = doctor.check_disk()
    assert (finding.level, finding.value) == ('warning', '1.0 GiB, a run may need 5 GiB')


def test_report_of_a_warning_says_that_pretraining_works(capsys):
    code = doctor.report([Finding('torch', '2.11'), Finding('mmdet', 'is broken', 'warning', 'repair it')])
    out = capsys.readouterr().out
    assert code == 0
    assert 'warning: mmdet: is broken. Fix: repair it\n' in out
    assert 'Pre-training works' in out


def test_report_of_an_error_names_it_and_fails(capsys):
    code = doctor.report([Finding('mmdet', 'broken', 'warning', 'a'), Finding('torch', 'gone', 'error', 'b')])
    assert code == 1
    assert capsys.readouterr().out.endswith('Pre-training cannot run: torch.\n')


def test_starts_without_any_package():
    # -S leaves site-packages out.
    command = [sys.executable, '-S', '-m', 'repre_mm.doctor']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == ''
    assert 'error: torch: torch is not installed. Fix: run `make clean-env setup`' in done.stdout


@pytest.mark.slow
def test_pretraining_needs_no_mmcv_ops():
    code = "import sys; sys.modules['mmcv._ext'] = None; from repre_mm import doctor; sys.exit(doctor.main())"
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'warning: mmcv ops: NMS fails: ' in done.stdout
    assert 'Pre-training works' in done.stdout
