"""Images in whatever form a caller has them: paths, folders, PIL images, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from repre_mm.datasets import find_images, read_image
from repre_mm.evaluation.loaders import evaluation_pipeline
from repre_mm.registry import TRANSFORMS
from repre_mm.utils.errors import UserError

#: One image, or a folder of them: a path, PIL, (H, W, 3) uint8 RGB, or (3, H, W) uint8 or float in [0, 1].
ImageLike = str | os.PathLike | Image.Image | np.ndarray | Tensor


class Crops(Dataset):
    """Evaluation crops of images, (3, size, size) uint8 RGB each, with labels that nobody reads.

    Args:
        images: One image, a folder, a batch, or a list of them.
        size: Side of the crops in pixels.

    Attributes:
        names: Of each image its path, or its place among the inputs.

    Raises:
        UserError: There is no image, or a path does not exist.
    """

    def __init__(self, images: ImageLike | Iterable[ImageLike], size: int) -> None:
        if isinstance(images, Tensor) and images.ndim == 4:
            images = list(images)  # (B, 3, H, W)
        found: list[tuple[str, ImageLike]] = []
        for index, image in enumerate([images] if isinstance(images, ImageLike) else images):
            if not isinstance(image, (str, os.PathLike)):
                found.append((f'image {index}', image))
                continue
            path = Path(image).expanduser()
            if not path.exists():
                raise UserError(f'there is no file or folder {path}')
            files = [path / name for name in find_images(path)] if path.is_dir() else [path]
            found += [(str(file), file) for file in files]
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


def _pixels(image: ImageLike, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
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
