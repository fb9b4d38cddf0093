"""Damaged files, found one by one, in a folder and in a sample; tools/check_data.py."""

import json
import runpy
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repre_mm.datasets import DatasetError
from repre_mm.datasets.damage import FEWEST, SAMPLE, ImageReport, check_sample, examine, examine_image
from repre_mm.datasets.sources.folder import Folder

ROOT = Path(__file__).parents[2]
NOISE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image | None = None, **options) -> Path:
    (image or Image.fromarray(NOISE)).save(path, **options)
    return path


def bomb(path: Path) -> Path:
    data = bytearray(save(path).read_bytes())
    data[16:24] = (60_000).to_bytes(4, 'big') * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(save(path).read_bytes()[:-200])
    return path


def flipped(path: Path) -> Path:
    data = bytearray(save(path).read_bytes())
    data[200] ^= 0xFF  # in the compressed pixels, which have a checksum
    path.write_bytes(data)
    return path


def text(path: Path) -> Path:
    path.write_text('<html>404</html>')
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def floats(path: Path) -> Path:
    return save(path, Image.fromarray(np.ones((4, 4), np.float32)))


def link(path: Path) -> Path:
    path.symlink_to(path.parent / 'gone')
    return path


DAMAGED = {
    'truncated': (cut, 'a.jpg'),
    'corrupt': (flipped, 'b.png'),
    'not an image': (text, 'c.jpg'),
    'empty': (empty, 'd.jpg'),
    'too large': (bomb, 'e.png'),
    'undefined range': (floats, 'f.tif'),
    'unreadable': (link, 'g.jpg'),
}
SOUND = [f'{index}.png' for index in range(9)]


@pytest.mark.parametrize('kind', DAMAGED)
def test_kinds_of_damage(tmp_path, kind):
    make, name = DAMAGED[kind]
    make(tmp_path / name)
    report = examine_image(Folder(str(tmp_path)), {'img_path': name})
    assert report.damage == kind
    assert report.cause
    assert report.pixels is None


def test_a_sound_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    size = save(tmp_path / 'a.jpg', exif=exif).stat().st_size
    report = examine_image(Folder(str(tmp_path)), {'img_path': 'a.jpg'})
    assert report == ImageReport(f'{tmp_path}/a.jpg', size, pixels=(40, 24))


@pytest.fixture
def sick_folder(tmp_path):
    folder = tmp_path / 'images'
    (folder / 'below').mkdir(parents=True)
    for make, name in DAMAGED.values():
        make(folder / 'below' / name)
    for name in SOUND:
        save(folder / name)
    save(folder / 'photo.jpg.part', format='JPEG')
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.mark.parametrize('workers', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_folder_is_counted(sick_folder, workers):
    report = examine(Folder(str(sick_folder)), workers=workers, progress=False)
    assert report.num_images == len(DAMAGED) + len(SOUND)
    assert dict(report.damage) == dict.fromkeys(DAMAGED, 1)
    assert [file.path for file in report.damaged] == sorted(
        f'{sick_folder}/below/{name}' for _, name in DAMAGED.values()
    )
    assert report.bad_share == len(DAMAGED) / report.num_images
    assert (report.smallest, report.largest) == (24, 40)
    assert report.others == {'.part': 1, '.txt': 1}
    files = [path for path in sick_folder.rglob('*.*') if path.suffix not in ('.part', '.txt') and path.exists()]
    assert report.num_bytes == sum(path.stat().st_size for path in files)
    assert json.loads(json.dumps(report.to_dict()))['num_damaged'] == len(DAMAGED)


def test_a_folder_without_permission_is_listed_and_the_others_read(sick_folder, monkeypatch):
    from repre_mm.datasets import listing

    scandir = listing.os.scandir

    def refuse(path):
        if str(path).endswith('below'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(listing.os, 'scandir', refuse)
    report = examine(Folder(str(sick_folder)), progress=False)
    assert report.unreadable == {'below': 'Permission denied'}
    assert report.num_images == len(SOUND)
    assert not report.damaged


def test_the_command(sick_folder, tmp_path, monkeypatch, capsys):
    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', str(sick_folder), '--workers', '1', *map(str, options)])
        runpy.run_path(str(ROOT / 'tools/check_data.py'), run_name='__main__')

    with pytest.raises(SystemExit, match=r'error: 43\.75% are damaged, more than 10\.00%'):
        run('--json', tmp_path / 'report.json')
    printed = capsys.readouterr().out
    for _, name in DAMAGED.values():
        assert f'{sick_folder}/below/{name}: ' in printed
    assert 'left out, not named as images: .part 1, .txt 1' in printed
    found = json.loads((tmp_path / 'report.json').read_text())
    assert found['damage'] == dict.fromkeys(DAMAGED, 1)
    run('--max-bad-share', 0.5)


def put(folder: Path, good: int, bad: int) -> Path:
    for number in range(good + bad):
        path = folder / f'{number % 7}/{number:04}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(path) if number >= bad else path.touch()
    return folder


def test_a_small_set_is_judged_exactly(tmp_path):
    folder = put(tmp_path, good=36, bad=4)
    check_sample(Folder(str(folder)), 0.1)
    with pytest.raises(DatasetError, match=r'4 of 40 images under .*max_bad_share=0\.09.*check_data\.py') as info:
        check_sample(Folder(str(folder)), 0.09)
    assert f'{folder}/0/0000.png: the file is empty' in str(info.value)


def test_a_large_set_is_sampled(tmp_path):
    folder = put(tmp_path, good=400, bad=200)
    check_sample(Folder(str(folder)), 0.5)
    with pytest.raises(DatasetError, match=rf'of {SAMPLE} images drawn under') as info:
        check_sample(Folder(str(folder)), 0.1)
    bad = int(str(info.value).split()[0])
    assert 0.2 * SAMPLE < bad < 0.5 * SAMPLE  # a third, give or take 5 standard deviations


def test_a_small_folder_weighs_no_more_than_its_files(tmp_path):
    put(tmp_path / 'many', good=1000, bad=0)
    put(tmp_path / 'few', good=0, bad=40)
    check_sample(Folder(str(tmp_path)), 0.1)
    with pytest.raises(DatasetError):
        check_sample(Folder(str(tmp_path)), 0.005)


def test_too_little_time_judges_nothing(tmp_path):
    assert FEWEST > 50
    check_sample(Folder(str(put(tmp_path, good=0, bad=50))), 0.1, seconds=0.0)


def test_a_folder_without_permission_is_refused(sick_folder, monkeypatch):
    from repre_mm.datasets import listing

    def refuse(path):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(listing.os, 'scandir', refuse)
    with pytest.raises(
        DatasetError, match=f'permission denied: cannot list the folder {sick_folder}/.*make it readable'
    ):
        check_sample(Folder(str(sick_folder)), 1.0)
