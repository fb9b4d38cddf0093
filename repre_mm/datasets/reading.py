"""Reading image files as they come: any common format, orientation, colour mode and state of damage."""

import io
import os
import warnings
from typing import Literal

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageOps

from repre_mm.registry import TRANSFORMS

#: Images above this are refused: 100 million pixels are 300 MB once decoded. ImageNet's largest has 19
#: million.
MAX_PIXELS = 100_000_000

# JPEG start-of-frame markers; C4, C8 and CC lie in the same range and are something else (ITU T.81, table
# B.1).
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS_MARKER = 0xDA
_END_OF_IMAGE = b'\xff\xd9'


class ImageReadError(RuntimeError):
    """An image file that cannot be turned into pixels.

    Args:
        path: the file.
        cause: what is wrong with it, in words.
    """

    def __init__(self, path: str | os.PathLike, cause: str) -> None:
        super().__init__(os.fspath(path), cause)
        self.path = os.fspath(path)
        self.cause = cause

    def __str__(self) -> str:
        return f'cannot read image {self.path}: {self.cause}'


def read_image(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as 8-bit RGB, upright.

    The format is recognised by content, so a wrong extension does not matter. The EXIF orientation is
    applied. Greyscale, palette, CMYK and YCbCr images become RGB; 16-bit greyscale is scaled to 8 bit;
    transparent pixels are laid over white, as a page shows them; of an animation the first frame is taken.
    Colour profiles are ignored, as OpenCV, torchvision and mmcv do.

    Complete grey and YCbCr/RGB JPEGs are decoded by OpenCV, which is faster; everything else goes through
    Pillow, which notices truncation. OpenCV 4 alone would return a truncated JPEG as a half-grey image.

    Args:
        path: the image file.
        max_pixels: refuse larger images (height times width) before decoding them.

    Returns:
        Contiguous uint8 array of shape (H, W, 3), channels in RGB order, values 0 to 255.

    Raises:
        ImageReadError: the file is missing, unreadable, empty, not an image, truncated, larger than
            ``max_pixels``, or has 32-bit pixels, whose range is not defined.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise ImageReadError(path, error.strerror or str(error)) from error
    if not data:
        raise ImageReadError(path, 'the file is empty (0 bytes)')

    header = _parse_jpeg_header(data)
    if header is not None:
        height, width, components, scan_start = header
        _check_size(path, height, width, max_pixels)
        if components in (1, 3) and data.rfind(_END_OF_IMAGE, scan_start) != -1:
            image = _decode_opencv(data)
            if image is not None:
                return image
    return _decode_pillow(path, data, max_pixels)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read ``results['img_path']`` with :func:`read_image`: the first step of a pipeline.

    Required key: ``img_path``. Added keys: ``img`` (uint8, (H, W, 3)), ``img_shape`` and ``ori_shape`` (both
    (H, W)).

    Args:
        channel_order: ``'rgb'``, or ``'bgr'`` for pipelines with mmpretrain's or mmcv's own colour
            transforms, which expect BGR as mmcv's ``LoadImageFromFile`` gives it: on RGB, ``ColorJitter``
            takes red for blue in the grey that it mixes in, and no argument of it changes that. With
            ``'bgr'`` the data preprocessor must say ``to_rgb=True``.
        max_pixels: see :func:`read_image`.
    """

    def __init__(self, channel_order: Literal['rgb', 'bgr'] = 'rgb', max_pixels: int = MAX_PIXELS) -> None:
        if channel_order not in ('rgb', 'bgr'):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', not {channel_order!r}")
        self.channel_order = channel_order
        self.max_pixels = max_pixels

    def transform(self, results: dict) -> dict:
        """Add the pixels to ``results``; raises :class:`ImageReadError`."""
        image = read_image(results['img_path'], max_pixels=self.max_pixels)
        if self.channel_order == 'bgr':
            image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(channel_order={self.channel_order!r}, max_pixels={self.max_pixels})'


def _check_size(path: str | os.PathLike, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageReadError(
            path,
            f'{width} x {height} = {height * width:,} pixels, more than the limit of {max_pixels:,} '
            '(raise max_pixels if the file is to be trusted)',
        )


def _parse_jpeg_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Height, width, number of components and offset of the first scan; None when this is no plain JPEG."""
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


def _decode_opencv(data: bytes) -> np.ndarray | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None  # Pillow has the last word, and the better message
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _decode_pillow(path: str | os.PathLike, data: bytes, max_pixels: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes that _check_size judges, and of damaged metadata, which is of no concern
            # here.
            warnings.simplefilter('ignore')
            image = Image.open(io.BytesIO(data))
            _check_size(path, image.height, image.width, max_pixels)
            image = _to_rgb(path, ImageOps.exif_transpose(image))
            return np.array(image)
    except (ImageReadError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageReadError(path, f'not an image that Pillow knows (starts with {data[:12]!r})') from error
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes make them raise
        raise ImageReadError(path, f'{type(error).__name__}: {error}') from error


def _to_rgb(path: str | os.PathLike, image: Image.Image) -> Image.Image:
    # Older Pillow gives 16-bit PNG and PPM as 32-bit integers.
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
        grey = np.rint(np.asarray(image, dtype=np.float32) / 257)
        return Image.fromarray(grey.astype(np.uint8)).convert('RGB')
    if image.mode in ('I', 'F'):
        raise ImageReadError(path, f'32-bit pixels (mode {image.mode}) have no defined range: convert it to 8 bit')
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')
