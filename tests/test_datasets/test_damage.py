"""Damaged files, found in a whole folder and in a sample; tools/check_data.py."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures.bad_inputs.images import bomb, cut, flip, save
from PIL import Image

from repre_mm.datasets import DatasetError
from repre_mm.datasets.damage import FEWEST, SAMPLE, check_sample, examine
from repre_mm.datasets.sources.folder import Folder

ROOT = Path(__file__).parents[2]
DAMAGED = {
    'a.jpg': (cut, 'truncated'),
    'b.png': (flip, 'broken data stream'),
    'c.jpg': (lambda path: path.write_text('<html>404</html>'), 'not an image'),
    'd.jpg': (Path.touch, 'empty'),
    'e.png': (lambda path: bomb(path, 60_000), 'exceeds limit'),
    'f.tif': (lambda path: Image.fromarray(np.ones((4, 4), np.float32)).save(path), '32-bit pixels'),
    'g.jpg': (lambda path: path.symlink_to('gone'), 'No such file'),
}


@pytest.fixture
def sick_folder(tmp_path):
    folder = tmp_path / 'images'
    (folder / 'below').mkdir(parents=True)
    for name, (make, _) in DAMAGED.items():
        make(folder / 'below' / name)
    for index in range(9):
        save(folder / f'{index}.png')
    save(folder / 'photo.jpg.part', format='JPEG')
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.mark.parametrize('workers', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_damaged_files_are_named_with_their_cause(sick_folder, workers):
    source = Folder(str(sick_folder))
    found = examine(source, source.images(), workers)
    assert len(found) == len(DAMAGED)
    for damage, (name, (_, cause)) in zip(found, DAMAGED.items(), strict=True):
        assert damage.startswith(f'{sick_folder}/below/{name}: ') and cause in damage


def test_the_command(sick_folder, tmp_path, monkeypatch, capsys):
    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', str(sick_folder), '--workers', '1', *map(str, options)])
        runpy.run_path(str(ROOT / 'tools/check_data.py'), run_name='__main__')

    with pytest.raises(SystemExit, match=r'error: 43\.75% are damaged, more than 10\.00%'):
        run('--json', tmp_path / 'report.json')
    printed = capsys.readouterr().out
    assert all(f'{sick_folder}/below/{name}: ' in printed for name in DAMAGED)
    assert 'left out, not named as images: .txt 1, .part 1' in printed or '.part 1, .txt 1' in printed
    found = json.loads((tmp_path / 'report.json').read_text())
    assert found['num_images'] == 16 and len(found['damaged']) == len(DAMAGED)
    run('--max-bad-share', 0.5)


def put(folder: Path, good: int, bad: int) -> Folder:
    for number in range(good + bad):
        path = folder / f'{number % 7}/{number:04}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(path) if number >= bad else path.touch()
    return Folder(str(folder))


def test_a_small_set_is_judged_exactly(tmp_path):
    folder = put(tmp_path, good=36, bad=4)
    check_sample(folder, 0.1)
    with pytest.raises(DatasetError, match=r'4 of 40 images under .* more than 9 %.*check_data\.py') as info:
        check_sample(folder, 0.09)
    assert f'{tmp_path}/0/0000.png: the file is empty' in str(info.value)


def test_a_large_set_is_sampled(tmp_path):
    folder = put(tmp_path, good=180, bad=90)
    check_sample(folder, 0.5)
    with pytest.raises(DatasetError, match=rf'of {SAMPLE} images drawn under') as info:
        check_sample(folder, 0.1)
    bad = int(str(info.value).split()[0])
    assert 0.2 * SAMPLE < bad < 0.5 * SAMPLE  # a third, give or take 5 standard deviations


def test_too_little_time_judges_nothing(tmp_path):
    assert FEWEST > 50
    check_sample(put(tmp_path, good=0, bad=50), 0.1, seconds=0.0)
