"""Read image files of any common format, orientation and colour mode; recognise damaged ones."""

import io
import os
import warnings
from typing import Literal

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from repre_mm.utils.errors import UserError

#: Larger images are refused: 100 million pixels are 300 MB once decoded. ImageNet's largest image has 19 million.
MAX_PIXELS = 100_000_000

#: Kinds of damage to an image file.
KINDS_OF_DAMAGE = ('unreadable', 'empty', 'not an image', 'truncated', 'corrupt', 'too large', 'undefined range')

# JPEG start-of-frame markers; C4, C8 and CC in the same range mark other things (ITU T.81, table B.1).
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS_MARKER = 0xDA
_END_OF_IMAGE = b'\xff\xd9'
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
        kind: One of :data:`KINDS_OF_DAMAGE`, to count by.
    """

    def __init__(self, path: str | os.PathLike, cause: str, kind: str = 'corrupt') -> None:
        super().__init__(os.fspath(path), cause, kind)
        self.path = os.fspath(path)
        self.cause = cause
        self.kind = kind

    def __str__(self) -> str:
        return f'cannot read image {self.path}: {self.cause}'


def read_image(
    path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS, channel_order: Literal['rgb', 'bgr'] = 'rgb'
) -> np.ndarray:
    """Read an image file as 8-bit RGB or BGR, upright.

    The format is recognised by content, whatever the extension. The EXIF orientation is applied. Greyscale, palette,
    CMYK and YCbCr images become RGB; 16-bit greyscale is scaled to 8 bit; transparent pixels are laid over white; of an
    animation the first frame is taken. Colour profiles are ignored, as by OpenCV, torchvision and mmcv.

    Complete grey and YCbCr/RGB JPEGs are decoded by OpenCV, which is faster; everything else goes through Pillow, which
    detects truncation. OpenCV 4 alone would return a truncated JPEG as a half-grey image.

    Args:
        path: The image file.
        max_pixels: Refuse larger images (height times width) before decoding them.
        channel_order: Order of the channels in the result.

    Returns:
        (H, W, 3) contiguous uint8.

    Raises:
        ImageReadError: The file is missing, unreadable, empty, not an image, truncated, larger than ``max_pixels``, or
            has 32-bit pixels, whose range is undefined.
    """
    return decode_image(path, read_bytes(path), max_pixels=max_pixels, channel_order=channel_order)


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read an image file whole; raises :class:`ImageReadError` for a missing, unreadable or empty one."""
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise ImageReadError(path, error.strerror or str(error), 'unreadable') from error
    if not data:
        raise ImageReadError(path, 'the file is empty (0 bytes)', 'empty')
    return data


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
) -> np.ndarray:
    """Decode the bytes of a file, as :func:`read_image` does.

    Args:
        path: The file, for errors.
        data: Its bytes.
        max_pixels: See :func:`read_image`; compared with the size in the file, whatever the reduction.
        channel_order: Order of the channels in the result.
        reduction: Decode at this fraction of the sides, rounded up. Only JPEGs that OpenCV decodes are reduced; others
            keep their size.

    Raises:
        ImageReadError: See :func:`read_image`.
    """
    header = _parse_jpeg_header(data)
    if header is not None:
        height, width, components, scan_start = header
        _check_size(path, height, width, max_pixels)
        if components in (1, 3) and data.rfind(_END_OF_IMAGE, scan_start) != -1:
            image = _decode_opencv(data, reduction)
            if image is not None:
                return image if channel_order == 'bgr' else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    image = _decode_pillow(path, data, max_pixels)
    return image if channel_order == 'rgb' else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def _check_size(path: str | os.PathLike, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageReadError(
            path,
            f'{width} x {height} = {height * width:,} pixels, more than the limit of {max_pixels:,} '
            '(raise max_pixels if you trust the file)',
            'too large',
        )


def _parse_jpeg_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Height, width, number of components and offset of the first scan; None if this is no plain JPEG."""
    if not data.startswith(b'\xff\xd8\xff'):
        return None
    position, frame, end = 2, None, len(data) - 9
    while position < end and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _SOF_MARKERS:
            frame = (
                int.from_bytes(data[position + 5 : position + 7], 'big'),
                int.from_bytes(data[position + 7 : position + 9], 'big'),
                data[position + 9],
            )
        elif marker == _SOS_MARKER:
            return (*frame, position) if frame else None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    return None


def _decode_opencv(data: bytes, reduction: int) -> np.ndarray | None:
    """Decode to BGR; None if OpenCV fails."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), _OPENCV_FLAGS[reduction])
    except cv2.error:
        return None  # Pillow tries next, and has the better message


def _decode_pillow(path: str | os.PathLike, data: bytes, max_pixels: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large sizes, which _check_size judges, and of damaged metadata, which is not used.
            warnings.simplefilter('ignore')
            image = Image.open(io.BytesIO(data))
            _check_size(path, image.height, image.width, max_pixels)
            image = _to_rgb(path, ImageOps.exif_transpose(image))
            return np.array(image)
    except (ImageReadError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        cause = f'not an image that Pillow knows (starts with {data[:12]!r})'
        raise ImageReadError(path, cause, 'not an image') from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(path, f'{error} (a decompression bomb?)', 'too large') from error
    except Exception as error:  # Pillow's decoders raise errors of any class on damaged bytes
        cut = isinstance(error, EOFError) or 'truncated' in str(error).lower()
        raise ImageReadError(path, f'{type(error).__name__}: {error}', 'truncated' if cut else 'corrupt') from error


def _to_rgb(path: str | os.PathLike, image: Image.Image) -> Image.Image:
    # Older Pillow gives 16-bit PNG and PPM as 32-bit integers.
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
        grey = np.rint(np.asarray(image, dtype=np.float32) / 257)
        return Image.fromarray(grey.astype(np.uint8)).convert('RGB')
    if image.mode in ('I', 'F'):
        cause = f'32-bit pixels (mode {image.mode}) have no defined range: convert it to 8 bit'
        raise ImageReadError(path, cause, 'undefined range')
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')
