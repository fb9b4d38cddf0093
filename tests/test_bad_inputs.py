"""Bad inputs end in one clear message and change nothing; tools/bad_inputs.py writes the table of them in docs/.

At the end, faults that show only while a model is built or trained.
"""

import argparse
import re
import runpy
import sys
import tempfile
from pathlib import Path

import pytest
from fixtures.bad_inputs import CASES, rights_can_be_dropped, run_case
from fixtures.data import make_image_folder
from fixtures.tiny import TINY

from repre_mm.cli.config import load_config
from repre_mm.engine.launch import build_runner

PAGE = (Path(__file__).parents[1] / 'docs/bad-inputs.md').read_text()


@pytest.fixture
def folder():
    # Not tmp_path, which nobody but its owner can enter.
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case.group}-{case.what}')
def test_one_message_and_nothing_else(case, folder, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert case.culprit and case.fix
    if case.unprivileged and not rights_can_be_dropped():
        pytest.skip('needs a user without rights, who can read the code')
    for package in case.needs:
        pytest.importorskip(package)
    outcome = run_case(case, folder)
    assert not outcome.crashed, outcome.message
    assert outcome.failed
    assert case.culprit in outcome.message
    assert case.fix in outcome.message
    assert outcome.changed == ()


def test_the_table_is_of_these():
    assert len(CASES) >= 60
    rows = re.findall(r'^\| (?!what is bad|---)(.+?) \| `tools/', PAGE, re.MULTILINE)
    assert rows == [case.what for case in CASES]


def build(tmp_path: Path, data: Path | str | None = None, config: str = str(TINY), **options):
    work_dir = tmp_path / 'run'
    args = argparse.Namespace(
        config=config, work_dir=str(work_dir), data=data and str(data), amp=False, launcher='none', cfg_options=options
    )
    cfg = load_config(args)
    cfg.experiment_name = str(tmp_path)
    return build_runner(cfg)


def test_a_wrong_model_setting(tmp_path):
    with pytest.raises(ValueError, match=r'num_levels=9 .* depth 4: choose 1 to 4'):
        build(tmp_path, make_image_folder(tmp_path / 'images'), **{'model.neck.num_levels': 9})


def test_crop_that_the_patch_does_not_divide(tmp_path):
    runner = build(
        tmp_path,
        make_image_folder(tmp_path / 'images'),
        **{
            'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 36,
            'train_dataloader.dataset.pipeline.1.transforms.1.0.scale': 36,
        },
    )
    with pytest.raises(ValueError, match='36 x 36 pixels is not divisible by the patch of 8 x 8: choose a crop of 32'):
        runner.train()


def test_a_corrupt_image_among_good_ones_is_replaced_and_named(tmp_path):
    images = make_image_folder(tmp_path / 'images', train=32)
    (images / 'train/dark/bad.jpg').write_bytes((images / 'train/dark/0.jpg').read_bytes()[:300])
    runner = build(tmp_path, images, **{'train_cfg.max_epochs': 1})
    runner.train()
    assert runner.iter == 8
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'bad.jpg' in log
    assert 'another image takes its place' in log


def test_too_many_bad_images_in_mid_run_end_it_with_one_message(tmp_path, monkeypatch, capsys):
    # Damaged after the check, so the loading processes meet them.
    monkeypatch.setattr('repre_mm.engine.checks.image_folders.check_sample', lambda *args, **kwargs: None)
    images = make_image_folder(tmp_path / 'images', train=64)
    for path in sorted(images.glob('train/dark/*.jpg')):
        path.write_bytes(path.read_bytes()[:300])
    settings = ['train_dataloader.num_workers=2', 'default_hooks.knn=None']
    command = ['train.py', str(TINY), '--data', str(images), '--work-dir', str(tmp_path / 'run'), '--cfg-options']
    monkeypatch.setattr(sys, 'argv', [*command, *settings])
    with pytest.raises(SystemExit) as info:
        runpy.run_path(str(TINY.parents[2] / 'tools/train.py'), run_name='__main__')
    message = info.value.code
    assert re.match(rf'error: \d+ of 64 images read under {images}/train could not be read, more than', message)
    assert 'Repair or remove them, which the log names, or raise max_bad_share' in message
    assert 'Traceback' not in message
