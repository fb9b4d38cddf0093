"""Finding damaged files before a training meets them."""

import json
import runpy
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from repre_mm.datasets import DatasetError
from repre_mm.datasets.damage import FEWEST, SAMPLE, check_sample, examine_file, examine_folder
from repre_mm.datasets.formats.faults import layout_faults
from repre_mm.toy_scenes import make_toy_scenes

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


def sixteen_bit(path: Path) -> Path:
    cv2.imwrite(str(path), NOISE.astype(np.uint16) * 257)
    return path


def rotated(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(path, exif=exif)


def animated(path: Path) -> Path:
    # Palettes that differ: Pillow drops a frame that equals the one before.
    frames = [Image.fromarray(pixels).quantize(8) for pixels in (NOISE, 255 - NOISE)]
    return save(path, frames[0], save_all=True, append_images=frames[1:])


SOUND = {
    (): (save, 'plain.jpg'),
    ('CMYK',): (lambda path: save(path, Image.fromarray(NOISE).convert('CMYK')), 'cmyk.jpg'),
    ('palette',): (lambda path: save(path, Image.fromarray(NOISE).quantize(8)), 'palette.png'),
    ('grey',): (lambda path: save(path, Image.fromarray(NOISE).convert('L')), 'grey.jpg'),
    ('alpha',): (lambda path: save(path, Image.fromarray(NOISE).convert('RGBA')), 'alpha.png'),
    ('16-bit',): (sixteen_bit, 'deep.png'),
    ('EXIF rotation',): (rotated, 'turned.jpg'),
    ('palette', 'animated'): (animated, 'moving.gif'),
    ('wrongly named',): (lambda path: save(path, format='PNG'), 'named.jpg'),
}


@pytest.mark.parametrize('kind', DAMAGED)
def test_kinds_of_damage(tmp_path, kind):
    make, name = DAMAGED[kind]
    report = examine_file(make(tmp_path / name))
    assert report.damage == kind
    assert report.cause
    assert report.pixels is None


@pytest.mark.parametrize('conversions', SOUND)
def test_sound_files_and_what_reading_changes(tmp_path, conversions):
    make, name = SOUND[conversions]
    report = examine_file(make(tmp_path / name))
    assert report.damage is None
    assert report.conversions == conversions
    assert report.pixels == ((40, 24) if 'EXIF rotation' in conversions else (24, 40))


@pytest.fixture
def sick_folder(tmp_path):
    folder = tmp_path / 'images'
    (folder / 'below').mkdir(parents=True)
    for make, name in DAMAGED.values():
        make(folder / 'below' / name)
    for make, name in SOUND.values():
        make(folder / name)
    save(folder / 'photo.jpg.part', format='JPEG')
    (folder / 'notes.txt').write_text('BUT no image')
    return folder


@pytest.mark.parametrize('workers', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_folder_is_counted(sick_folder, workers):
    report = examine_folder(sick_folder, workers=workers, progress=False)
    assert report.num_images == len(DAMAGED) + len(SOUND)
    assert dict(report.damage) == dict.fromkeys(DAMAGED, 1)
    assert [file.path for file in report.damaged] == sorted(f'below/{name}' for _, name in DAMAGED.values())
    assert report.bad_share == len(DAMAGED) / report.num_images
    assert (report.smallest, report.largest) == (24, 40)
    assert report.misnamed == ['photo.jpg.part']
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
    report = examine_folder(sick_folder, progress=False)
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
    assert 'photo.jpg.part: left out' in printed
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
    check_sample(folder, 0.1)
    with pytest.raises(DatasetError, match=r'4 of 40 images under .*max_bad_share=0\.09.*check_data\.py') as info:
        check_sample(folder, 0.09)
    assert f'{folder}/0/0000.png: the file is empty' in str(info.value)


def test_a_large_set_is_sampled(tmp_path):
    folder = put(tmp_path, good=400, bad=200)
    check_sample(folder, 0.5)
    with pytest.raises(DatasetError, match=rf'of {SAMPLE} images drawn under') as info:
        check_sample(folder, 0.1)
    bad = int(str(info.value).split()[0])
    assert 0.2 * SAMPLE < bad < 0.5 * SAMPLE  # a third, give or take 5 standard deviations


def test_a_small_folder_weighs_no_more_than_its_files(tmp_path):
    put(tmp_path / 'many', good=1000, bad=0)
    put(tmp_path / 'few', good=0, bad=40)
    check_sample(tmp_path, 0.1)
    with pytest.raises(DatasetError):
        check_sample(tmp_path, 0.005)


def test_too_little_time_judges_nothing(tmp_path):
    assert FEWEST > 50
    check_sample(put(tmp_path, good=0, bad=50), 0.1, seconds=0.0)


def test_a_folder_without_permission_is_refused(sick_folder, monkeypatch):
    from repre_mm.datasets import listing

    def refuse(path):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(listing.os, 'scandir', refuse)
    with pytest.raises(
        DatasetError, match=f'permission denied: cannot list the folder {sick_folder}/.*make it readable'
    ):
        check_sample(sick_folder, 1.0)


def test_layouts(tmp_path):
    sizes = dict(num_train=10, num_val=10, num_scenes_train=3, num_scenes_val=2, image_size=32, scene_size=(64, 64))
    make_toy_scenes(tmp_path / 'toy', tasks=('coco', 'cityscapes'), workers=1, progress=False, **sizes)
    coco, cityscapes = tmp_path / 'toy/coco', tmp_path / 'toy/cityscapes'
    assert layout_faults(coco) == layout_faults(cityscapes) == layout_faults(coco / 'train2017') == []

    images = sorted((coco / 'train2017').iterdir())
    images[-1].unlink()
    label = next((cityscapes / 'gtFine/val').rglob('*.png'))
    label.write_bytes(label.read_bytes()[:60])
    (fault,) = layout_faults(coco)
    assert f'names 1 of 3 images that are not in {coco}/train2017, the first is {images[-1].name}' in fault
    (fault,) = layout_faults(cityscapes)
    assert f'the label map {label} cannot be read' in fault
