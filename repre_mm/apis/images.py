"""Images in whatever form a caller has them: paths, folders, PIL images, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from repre_mm.datasets import open_images
from repre_mm.evaluation.loaders import evaluation_pipeline
from repre_mm.registry import TRANSFORMS
from repre_mm.utils.errors import UserError

#: An image or a place of images by its path (:func:`repre_mm.datasets.open_images`), or an image: PIL, (H, W, 3) uint8
#: RGB, or (3, H, W) uint8 or float in [0, 1].
ImageLike = str | os.PathLike | Image.Image | np.ndarray | Tensor

Images = ImageLike | Iterable[ImageLike]


class Crops(Dataset):
    """Evaluation crops of images, (3, size, size) uint8 RGB each, with labels that nobody reads.

    Args:
        images: One image, a place, a batch, or a list of them.
        size: Side of the crops in pixels.
        decoding: See :func:`repre_mm.datasets.read_image`.

    Attributes:
        names: Of each image its path (``shard.tar:000123.jpg``), or its number among the inputs.

    Raises:
        UserError: There is no image, or a path does not exist.
    """

    def __init__(self, images: Images, size: int, **decoding: Any) -> None:
        if isinstance(images, Tensor) and images.ndim == 4:
            images = list(images)  # (B, 3, H, W)
        found: list[tuple[str, ImageLike | Callable[[], np.ndarray]]] = []
        for index, image in enumerate([images] if isinstance(images, ImageLike) else images):
            is_place = isinstance(image, (str, os.PathLike))
            found += open_images(image, **decoding) if is_place else [(f'image {index}', image)]
        if not found:
            raise UserError('there are no images: the list is empty')
        self.names, self._images = zip(*found, strict=True)
        self._cut = Compose([TRANSFORMS.build(step) for step in evaluation_pipeline(size)[1:-1]])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = _pixels(self._images[index], self.names[index])
        cut = self._cut({'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]})['img']
        return torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1), 0  # (h, w, 3) -> (3, h, w)


def _pixels(image: ImageLike | Callable[[], np.ndarray], name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    if callable(image):
        return image()
    if isinstance(image, Image.Image):
        image = np.array(image.convert('RGB'))
    elif isinstance(image, Tensor) and image.ndim == 3:
        if image.is_floating_point():
            if not 0 <= float(image.min()) <= float(image.max()) <= 1:
                raise UserError(f'{name}: a float tensor must lie in [0, 1]: do not normalise it')
            image = (image * 255).round().to(torch.uint8)
        image = image.permute(1, 2, 0).cpu().numpy()  # (3, H, W) -> (H, W, 3)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f'{image.dtype} {list(image.shape)}'
        raise UserError(f'{name}: {found} is no image: give an array (H, W, 3) uint8, or a tensor (3, H, W)')
    return image
