"""Read image files of any common format, orientation and colour mode; recognise damaged ones."""

import importlib.util
import io
import os
import struct
import warnings
from contextlib import suppress
from typing import Any, Literal

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from repre_mm.datasets.listing import DatasetError
from repre_mm.utils.errors import UserError

#: What becomes black and white in images of 16 and 32 bits. Two values; or ``'depth'``: 0 and the largest value of the
#: smallest depth of 8, 10, 12, 14 and 16 bits that holds the image; or ``'percentile'``: its own 0.1 and 99.9 %.
ValueRange = Literal['depth', 'percentile'] | tuple[float, float]

#: Larger images are refused: 100 million pixels are 300 MB once decoded. ImageNet's largest image has 19 million.
MAX_PIXELS = 100_000_000

# JPEG start-of-frame markers; C4, C8 and CC in the same range mark other things (ITU T.81, table B.1).
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS_MARKER = 0xDA
_END_OF_IMAGE = b'\xff\xd9'
HEIC = ('.heic', '.heif')
# ISO 14496-12 and 23008-12: 'ftyp', and the brands of images coded as HEVC.
_HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
_NO_HEIC = "Install what reads it, pip install 'repre_mm[data]', or convert to JPEG"
_EXIF = b'Exif\x00\x00'
_OPENCV_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class ImageReadError(UserError, RuntimeError):
    """An image file that cannot be decoded.

    Args:
        path: The file.
        cause: Description of the damage.
    """

    def __init__(self, path: str | os.PathLike, cause: str) -> None:
        super().__init__(os.fspath(path), cause)
        self.path = os.fspath(path)
        self.cause = cause

    def __str__(self) -> str:
        return f'cannot read image {self.path}: {self.cause}'


def read_image(path: str | os.PathLike, **options: Any) -> np.ndarray:
    """Read an image file as 8-bit RGB, upright; see :func:`decode_image`, which takes the options.

    Raises:
        ImageReadError: The file is missing, unreadable or empty, or see :func:`decode_image`.
    """
    return decode_image(path, read_bytes(path), **options)


def read_bytes(path: str | os.PathLike, offset: int = 0, size: int | None = None, name: str | None = None) -> bytes:
    """Read an image file, or a part of it that errors call ``name``.

    Raises:
        ImageReadError: It is missing, unreadable or empty.
    """
    try:
        with open(path, 'rb') as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise ImageReadError(name or path, error.strerror or str(error)) from error
    if not data:
        raise ImageReadError(name or path, 'the file is empty (0 bytes)')
    return data


def check_range(value_range: object) -> None:
    """Raise a :class:`DatasetError` for what is no :data:`ValueRange`; None is one."""
    if value_range in (None, 'depth', 'percentile'):
        return
    low_high = value_range if isinstance(value_range, (list, tuple)) and len(value_range) == 2 else (0, 0)
    if not all(isinstance(value, (int, float)) for value in low_high) or low_high[0] >= low_high[1]:
        raise DatasetError(f"value_range={value_range!r}: must be 'depth', 'percentile' or two rising numbers")


def check_library(place: str, count: int) -> None:
    """Raise a :class:`DatasetError` where there are ``count`` HEIC files, and no library that reads them."""
    if count and importlib.util.find_spec('pillow_heif') is None:
        raise DatasetError(f'{count:,} images under {place} are HEIC. {_NO_HEIC}')


def jpeg_shape(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG once decoded and upright; None for other formats and for damaged EXIF data."""
    header = _parse_jpeg_header(data)
    if header is None:
        return None
    height, width, _, scan_start = header
    exif_start = data.find(_EXIF, 0, scan_start)
    if exif_start == -1:
        return height, width
    try:
        # Not Image.getexif(), which reads XMP too; OpenCV does not.
        exif = Image.Exif()
        exif.load(data[exif_start:scan_start])
        on_its_side = exif.get(ExifTags.Base.Orientation, 1) >= 5
    except Exception:  # Pillow raises errors of any class on damaged bytes
        return None
    return (width, height) if on_its_side else (height, width)


def decode_image(
    path: str | os.PathLike,
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    channel_order: Literal['rgb', 'bgr'] = 'rgb',
    reduction: Literal[1, 2, 4, 8] = 1,
    value_range: ValueRange = 'depth',
) -> np.ndarray:
    """Decode the bytes of an image file to 8-bit RGB or BGR, upright.

    The format is recognised by content, whatever the extension. The EXIF orientation is applied. Greyscale, palette,
    CMYK and YCbCr images become RGB; 16 bits are scaled to 8; transparent pixels are laid over white; of an animation
    the first frame is taken. Colour profiles are ignored, as by OpenCV, torchvision and mmcv.

    Complete grey and YCbCr/RGB JPEGs are decoded by OpenCV, which is faster; everything else goes through Pillow, which
    detects truncation. OpenCV 4 alone would return a truncated JPEG as a half-grey image.

    Args:
        path: The file, for errors.
        data: Its bytes.
        max_pixels: Refuse larger images (height times width in the file) before decoding them.
        channel_order: Order of the channels in the result.
        reduction: Decode at this fraction of the sides, rounded up. Only JPEGs that OpenCV decodes are reduced; others
            keep their size.
        value_range: What becomes black and white in images of 16 and 32 bits; see :data:`ValueRange`.

    Returns:
        (H, W, 3) contiguous uint8.

    Raises:
        ImageReadError: It is not an image, truncated, corrupt, larger than ``max_pixels``, or has 32-bit pixels, whose
            range ``'depth'`` cannot tell.
        DatasetError: It is HEIC, and pillow-heif is not installed.
    """
    header = _parse_jpeg_header(data)
    if header is not None:
        height, width, components, scan_start = header
        _check_size(path, height, width, max_pixels)
        if components in (1, 3) and data.rfind(_END_OF_IMAGE, scan_start) != -1:
            with suppress(cv2.error):  # Pillow tries next, and has the better message
                if (image := cv2.imdecode(np.frombuffer(data, np.uint8), _OPENCV_FLAGS[reduction])) is not None:
                    return image if channel_order == 'bgr' else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    image = _decode_pillow(path, data, max_pixels, value_range)
    return image if channel_order == 'rgb' else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def _check_size(path: str | os.PathLike, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageReadError(
            path,
            f'{width} x {height} = {height * width:,} pixels, more than the limit of {max_pixels:,} '
            '(raise max_pixels if you trust the file)',
        )


def _parse_jpeg_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Height, width, number of components and offset of the first scan; None if this is no plain JPEG.

    In 3 microseconds, where Pillow takes 150: a reduced JPEG decodes in 1 to 2 ms.
    """
    if not data.startswith(b'\xff\xd8\xff'):
        return None
    position, frame, end = 2, None, len(data) - 9
    while position < end and data[position] == 0xFF:
        marker, length = struct.unpack_from('>BH', data, position + 1)
        if marker == _SOS_MARKER:
            return (*frame, position) if frame else None
        if marker in _SOF_MARKERS:
            frame = struct.unpack_from('>HHB', data, position + 5)
        position += 1 if marker == 0xFF else 2 + length  # 0xFF is a fill byte
    return None


def _decode_pillow(path: str | os.PathLike, data: bytes, max_pixels: int, value_range: ValueRange) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large sizes, which _check_size judges, and of damaged metadata, which is not used.
            warnings.simplefilter('ignore')
            is_heic = data[4:8] == b'ftyp' and data[8:12] in _HEIC_BRANDS
            image = _open_heic(path, data) if is_heic else Image.open(io.BytesIO(data))
            _check_size(path, image.height, image.width, max_pixels)
            if image.mode == 'RGB' and ';16' in str(image.tile):  # its raw mode, such as RGB;16B
                image.load()  # Pillow notices damage, but takes the upper 8 bits only
                deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
                return cv2.cvtColor(_to_8_bits(deep, value_range), cv2.COLOR_BGR2RGB)
            return np.array(_to_rgb(path, ImageOps.exif_transpose(image), value_range))
    except (UserError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageReadError(path, f'not an image that Pillow knows (starts with {data[:12]!r})') from error
    except Exception as error:  # Pillow's decoders raise errors of any class on damaged bytes
        raise ImageReadError(path, f'{type(error).__name__}: {error}') from error


def _open_heic(path: str | os.PathLike, data: bytes) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise DatasetError(f'{os.fspath(path)} is HEIC. {_NO_HEIC}') from error
    # The class itself, not its registration in Pillow, which would change it for everybody in this process.
    return HeifImageFile(io.BytesIO(data))


def _to_rgb(path: str | os.PathLike, image: Image.Image, value_range: ValueRange) -> Image.Image:
    # Modes of 16 and 32 bits; older Pillow gives 16-bit PNG and PPM as 32-bit integers.
    if image.mode.startswith('I') or image.mode == 'F':
        deep = image.mode == 'F' or (image.mode == 'I' and image.format not in ('PNG', 'PPM'))
        if deep and value_range == 'depth':
            cause = f'32-bit pixels (mode {image.mode}) have no defined range: set value_range, or convert to 8 bits'
            raise ImageReadError(path, cause)
        return Image.fromarray(_to_8_bits(np.asarray(image), value_range)).convert('RGB')
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')


def _to_8_bits(pixels: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Scale pixels to [0, 255] by a range; what lies outside is clipped."""
    if value_range == 'depth':
        low, high = 0, next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if pixels.max() < 2**bits)
    elif value_range == 'percentile':
        low, high = np.percentile(pixels, (0.1, 99.9))
    else:
        low, high = value_range
    scale = 255 / max(high - low, 1e-12)
    return np.rint(np.clip((pixels.astype(np.float32) - low) * scale, 0, 255)).astype(np.uint8)
