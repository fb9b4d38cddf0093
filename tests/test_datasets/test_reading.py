"""Reading of image files: formats, orientation, modes, damage."""

import pickle
import sys
import zlib

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from repre_mm.datasets import DatasetError, ImageReadError, read_image


@pytest.fixture
def pixels() -> np.ndarray:
    """A smooth (24, 40, 3) picture: red grows to the right, green downwards, blue is 60."""
    picture = np.full((24, 40, 3), 60, np.uint8)
    picture[..., 0] = np.linspace(0, 255, 40)[None]
    picture[..., 1] = np.linspace(0, 200, 24)[:, None]
    return picture


def save(path, pixels, **kwargs):
    Image.fromarray(pixels).save(path, **kwargs)
    return path


def jpeg(path, pixels, **kwargs):
    return save(path, pixels, format='JPEG', quality=95, **kwargs)


def read_by_pillow(path):
    return np.array(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))


def test_png_is_exact_rgb(tmp_path, pixels):
    image = read_image(save(tmp_path / 'a.png', pixels))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert_array_equal(image, pixels)


@pytest.mark.parametrize('progressive', [False, True])
def test_jpeg_equals_pillow(tmp_path, pixels, progressive):
    path = jpeg(tmp_path / 'a.jpg', pixels, progressive=progressive)
    image = read_image(path)
    assert_allclose(image.astype(int), read_by_pillow(path), atol=2)
    assert image[12, -1, 0] > 240 and image[12, 0, 0] < 15  # red, not blue, grows to the right


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_exif_orientation(tmp_path, pixels, suffix):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f'a.{suffix}'
        Image.fromarray(pixels).save(path, exif=exif)
        expected = ImageOps.exif_transpose(Image.open(path))
        image = read_image(path)
        assert image.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
        assert_allclose(image.astype(int), np.array(expected), atol=2)


def test_exif_thumbnail_does_not_hide_truncation(tmp_path, pixels):
    # A thumbnail inside the metadata brings an end-of-image marker of its own.
    path = jpeg(tmp_path / 'a.jpg', pixels, comment=b'\xff\xd8 thumbnail \xff\xd9')
    read_image(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageReadError, match='truncated'):
        read_image(path)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp', 'tif'])
def test_truncated(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f'a.{suffix}', noise)
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageReadError) as info:
        read_image(path)
    assert info.value.path == str(path)
    assert str(path) in str(info.value)


def test_grey(tmp_path):
    grey = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    for name in ('a.png', 'a.jpg'):
        image = read_image(save(tmp_path / name, grey, quality=100))
        assert_allclose(image, np.repeat(grey[..., None], 3, axis=2).astype(int), atol=2)


def test_sixteen_bits_are_scaled(tmp_path):
    grey = np.array([[0, 257, 25700, 65535]], np.uint16)
    image = read_image(save(tmp_path / 'a.png', grey))
    assert_array_equal(image[0, :, 0], [0, 1, 100, 255])
    assert image.shape == (1, 4, 3)
    colour = np.array([[[0, 25700, 65535]]], np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), colour[..., ::-1])
    assert_array_equal(read_image(tmp_path / 'a.png'), [[[0, 100, 255]]])


def test_palette_and_first_frame(tmp_path):
    frames = [Image.new('P', (6, 4), 0), Image.new('P', (6, 4), 1)]
    for frame in frames:
        frame.putpalette([200, 10, 20, 1, 2, 3])
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    assert_array_equal(read_image(tmp_path / 'a.gif'), np.full((4, 6, 3), [200, 10, 20]))


def test_alpha_lies_over_white(tmp_path):
    rgba = np.array([[[100, 0, 50, 255], [100, 0, 50, 0], [100, 0, 50, 51]]], np.uint8)
    image = read_image(save(tmp_path / 'a.png', rgba))
    assert_allclose(image.astype(int), [[[100, 0, 50], [255, 255, 255], [224, 204, 214]]], atol=1)
    image = Image.new('P', (2, 1))
    image.putpalette([9, 8, 7, 70, 80, 90])
    image.putdata([0, 1])
    image.save(tmp_path / 'a.png', transparency=0)
    assert_array_equal(read_image(tmp_path / 'a.png'), [[[255, 255, 255], [70, 80, 90]]])


def test_cmyk(tmp_path, pixels):
    path = tmp_path / 'a.jpg'
    Image.fromarray(pixels).convert('CMYK').save(path, quality=98)
    assert_allclose(read_image(path).astype(int), pixels, atol=12)


def test_wrong_extension(tmp_path, pixels):
    assert_array_equal(read_image(save(tmp_path / 'a.JPEG', pixels, format='PNG')), pixels)
    assert read_image(jpeg(tmp_path / 'a.png', pixels)).shape == pixels.shape


@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_too_large(tmp_path, pixels, name):
    path = save(tmp_path / name, pixels)
    assert read_image(path, max_pixels=24 * 40).shape == pixels.shape
    with pytest.raises(ImageReadError, match='40 x 24 = 960 pixels, more than the limit of 959'):
        read_image(path, max_pixels=24 * 40 - 1)


@pytest.mark.parametrize('side', [12_000, 60_000])
def test_bomb_is_refused_before_decoding(tmp_path, pixels, side):
    path = save(tmp_path / 'a.png', pixels)
    data = bytearray(path.read_bytes())
    data[16:24] = side.to_bytes(4, 'big') * 2  # width and height, in a chunk that ends with its checksum
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=r'144,000,000 pixels, more than|3600000000 pixels\) exceeds limit'):
        read_image(path)


def test_unreadable_files(tmp_path):
    (tmp_path / 'empty.jpg').touch()
    with pytest.raises(ImageReadError, match='empty'):
        read_image(tmp_path / 'empty.jpg')
    (tmp_path / 'text.jpg').write_text('<html>404</html>')
    with pytest.raises(ImageReadError, match=r'not an image .*<html>'):
        read_image(tmp_path / 'text.jpg')
    (tmp_path / 'head.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(ImageReadError):
        read_image(tmp_path / 'head.jpg')
    with pytest.raises(ImageReadError, match='No such file'):
        read_image(tmp_path / 'missing.jpg')
    with pytest.raises(ImageReadError, match=r'(?i)is a directory'):
        read_image(tmp_path)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageReadError('a.jpg', 'gone')))
    assert (error.path, error.cause) == ('a.jpg', 'gone')
    assert str(error) == 'cannot read image a.jpg: gone'


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('colour', [False, True])
def test_twelve_bits_are_scaled_by_their_depth(tmp_path, suffix, colour):
    grey = np.array([[0, 1000, 2000, 4095]], np.uint16)
    pixels = np.stack([grey, grey // 2, grey // 4], axis=-1) if colour else grey
    path = tmp_path / f'a.{suffix}'
    cv2.imwrite(str(path), pixels[..., ::-1] if colour else pixels)
    assert_array_equal(read_image(path)[0, :, 0], [0, 62, 125, 255])
    assert_array_equal(read_image(path, value_range=(1000, 2000))[0, :, 0], [0, 0, 255, 255])
    assert_array_equal(read_image(path, value_range=(0, 65535))[0, :, 0], [0, 4, 8, 16])
    if colour:
        assert_array_equal(read_image(path, channel_order='bgr')[0, 3], [64, 127, 255])
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ImageReadError):
            read_image(path)


def test_a_percentile_leaves_out_hot_pixels(tmp_path):
    pixels = np.full((100, 100), 700, np.uint16)
    pixels[:, 50:] = 900
    pixels[0, :3] = 65535
    Image.fromarray(pixels).save(tmp_path / 'a.tif')
    image = read_image(tmp_path / 'a.tif', value_range='percentile')
    assert image[50, 0, 0] == 0 and image[50, 99, 0] == 255
    assert read_image(tmp_path / 'a.tif').max(initial=0, where=np.arange(100)[:, None, None] > 0) == 4


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_32_bits_need_a_range(tmp_path, dtype):
    Image.fromarray(np.array([[-1, 0, 1, 2]], dtype)).save(tmp_path / 'a.tif')
    with pytest.raises(ImageReadError, match='set value_range, or convert to 8 bits'):
        read_image(tmp_path / 'a.tif')
    assert_array_equal(read_image(tmp_path / 'a.tif', value_range=(0, 1))[0, :, 0], [0, 0, 255, 255])


@pytest.mark.parametrize('orientation', [3, 6])
def test_sixteen_bit_colour_is_upright(tmp_path, pixels, orientation):
    # OpenCV writes no EXIF: a chunk of it goes before the pixels by hand.
    exif = Image.Exif()
    exif[0x0112] = orientation
    cv2.imwrite(str(tmp_path / 'a.png'), pixels[..., ::-1].astype(np.uint16) * 257)
    data = (tmp_path / 'a.png').read_bytes()
    body = b'eXIf' + exif.tobytes()[6:]
    chunk = (len(body) - 4).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(4, 'big')
    (tmp_path / 'a.png').write_bytes(data[:33] + chunk + data[33:])
    plain = Image.fromarray(pixels)
    plain.save(tmp_path / 'b.png', exif=exif)
    assert_array_equal(read_image(tmp_path / 'a.png'), read_image(tmp_path / 'b.png'))


def test_heic(tmp_path, pixels):
    pillow_heif = pytest.importorskip('pillow_heif')
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(pixels)
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    pillow_heif.from_pillow(upright).save(tmp_path / 'a.heic', quality=95)
    assert_allclose(read_image(tmp_path / 'a.heic').astype(int), pixels, atol=24)
    pillow_heif.from_pillow(stored).save(tmp_path / 'b.heic', quality=95, exif=exif.tobytes())
    assert read_image(tmp_path / 'b.heic').shape == pixels.shape
    with pytest.raises(ImageReadError, match='40 x 24 = 960 pixels, more than the limit of 959'):
        read_image(tmp_path / 'a.heic', max_pixels=959)
    (tmp_path / 'a.heic').write_bytes((tmp_path / 'a.heic').read_bytes()[:-100])
    with pytest.raises(ImageReadError):
        read_image(tmp_path / 'a.heic')
    assert 'HEIF' not in Image.registered_extensions().values()  # Pillow itself is as it was


def test_heic_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    (tmp_path / 'a.jpg').write_bytes(b'\x00\x00\x00\x18ftypheic' + bytes(100))
    with pytest.raises(DatasetError, match=r"a\.jpg is HEIC\. Install what reads it, pip install 'repre_mm\[data\]'"):
        read_image(tmp_path / 'a.jpg')
