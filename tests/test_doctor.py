"""The doctor: faults are put in by hand, and each must come out with its level and a fix."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from repre_mm import doctor
from repre_mm.doctor import Finding
from repre_mm.utils.stack import StackError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes an installed package 'sickly' with a given source and a range that repre_mm asks for."""

    def make(source: str, wanted: str) -> str:
        (tmp_path / 'sickly.py').write_text(source)
        (tmp_path / 'sickly-1.5.dist-info').mkdir()
        (tmp_path / 'sickly-1.5.dist-info/METADATA').write_text('Metadata-Version: 2.1\nName: sickly\nVersion: 1.5\n')
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(doctor.metadata, 'requires', lambda name: [f'sickly{wanted}'])
        return 'sickly'

    yield make
    sys.modules.pop('sickly', None)


@pytest.mark.parametrize(
    ('source', 'wanted', 'finding'),
    [
        ("__version__ = '1.5+cu130'", '==1.*', Finding('sickly', '1.5+cu130')),
        (
            "raise OSError('libx.so: no such file\\nmore')",
            '',
            Finding('sickly', '1.5 cannot be imported: OSError: libx.so: no such file', 'error', doctor.SETUP_FIX),
        ),
        ('', '>=2', Finding('sickly', '1.5, but repre_mm is tested with >=2', 'error', doctor.SETUP_FIX)),
    ],
)
def test_a_package_is_in_range_and_imports(package, source, wanted, finding):
    assert doctor.check_package(package(source, wanted)) == finding


def test_what_only_detection_needs_may_be_absent(monkeypatch):
    monkeypatch.setattr(doctor, 'distributions_of', lambda module: {})
    assert doctor.check_package('mmdet').level == 'absent'
    assert doctor.check_package('mmcv').level == 'error'


def test_mmcv_ops(monkeypatch):
    wrong = SimpleNamespace(nms=lambda boxes, scores, iou_threshold: (boxes, torch.arange(3)))
    for ops, value, level in ((None, 'not compiled', 'absent'), (wrong, 'NMS gives wrong boxes', 'warning')):
        monkeypatch.setitem(sys.modules, 'mmcv.ops', ops)
        assert doctor.check_mmcv_ops()[1:3] == (value, level)


def test_mmcv_ops_of_this_installation():
    pytest.importorskip('mmcv._ext', reason='mmcv was installed without its ops', exc_type=ImportError)
    assert doctor.check_mmcv_ops().level == 'ok'


def test_verdict(monkeypatch, capsys):
    mixed = StackError('overwrite each other: pip uninstall')
    monkeypatch.setattr(doctor, 'find_family', lambda: (_ for _ in ()).throw(mixed))
    rows = [Finding('torch', '2.11'), Finding('mmdet', 'is broken', 'warning', 'repair it')]
    monkeypatch.setattr(doctor, 'examine', lambda: rows)
    assert doctor.report() == 0
    assert capsys.readouterr().out.endswith(
        'is broken\n  warning, fix: repair it\n\nPre-training works, with 1 warning(s).\n'
    )
    rows[1:] = [Finding('mmdet', 'not installed', 'absent')]
    assert doctor.report() == 0
    assert 'Pre-training works.\nDetection and segmentation need more: `make setup-ops`' in capsys.readouterr().out
    rows.append(doctor.check_family())
    assert doctor.report() == 1
    assert capsys.readouterr().out.endswith('Pre-training cannot run: family.\n')


def test_starts_without_any_package():
    # -S leaves site-packages out.
    command = [sys.executable, '-S', '-m', 'repre_mm.doctor']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr == ''
    assert 'not installed\n  error, fix: run `make clean-env setup`' in done.stdout


def test_a_reader_that_stops_ends_it_quietly():
    command = f'{sys.executable} -S -m repre_mm.doctor | true'
    done = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ''


@pytest.mark.slow
def test_pretraining_needs_no_mmcv_ops():
    code = "import sys; sys.modules['mmcv._ext'] = None; from repre_mm import doctor; sys.exit(doctor.main())"
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'NMS fails: ' in done.stdout and 'Pre-training works' in done.stdout
