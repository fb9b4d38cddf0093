"""Images in whatever form a caller has them: paths, folders, PIL images, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class NamedImage:
    """An image and what it is called: its path, or its place among the inputs."""

    name: str
    source: ImageLike

    def read(self) -> np.ndarray:
        """Decode.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            repre_mm.datasets.reading.ImageReadError: The file is damaged.
            UserError: The array or tensor is no image.
        """
        source = self.source
        if isinstance(source, Image.Image):
            return np.array(source.convert('RGB'))
        if isinstance(source, Tensor):
            source = self._from_tensor(source)
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
                found = f'{source.dtype} {list(source.shape)}'
                raise UserError(f'{self.name}: an array of {found} is no image: give (H, W, 3) uint8 RGB')
            return source
        return read_image(source)

    def _from_tensor(self, image: Tensor) -> np.ndarray:
        if image.ndim != 3 or image.shape[0] != 3:
            raise UserError(f'{self.name}: a tensor of {list(image.shape)} is no image: give (3, H, W)')
        if image.is_floating_point():
            if not 0 <= float(image.min()) <= float(image.max()) <= 1:
                raise UserError(f'{self.name}: a float tensor must lie in [0, 1]: do not normalise it')
            image = (image * 255).round().to(torch.uint8)
        return image.permute(1, 2, 0).cpu().numpy()  # (3, H, W) -> (H, W, 3)


def collect_images(images: ImageLike | Iterable[ImageLike]) -> list[NamedImage]:
    """Name every image, folders opened up.

    Raises:
        UserError: There is none, or a path does not exist.
    """
    if isinstance(images, Tensor) and images.ndim == 4:
        images = list(images)  # (B, 3, H, W)
    single = isinstance(images, (str, os.PathLike, Image.Image, np.ndarray, Tensor))
    found: list[NamedImage] = []
    for index, image in enumerate([images] if single else images):
        if not isinstance(image, (str, os.PathLike)):
            found.append(NamedImage(f'image {index}', image))
            continue
        path = Path(image).expanduser()
        if path.is_dir():
            found += [NamedImage(str(path / name), path / name) for name in find_images(path)]
        elif path.exists():
            found.append(NamedImage(str(path), path))
        else:
            raise UserError(f'there is no file or folder {path}')
    if not found:
        raise UserError('there are no images: the list is empty')
    return found


def collate_crops(crops: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W), and labels that nobody reads."""
    return torch.stack(crops), torch.zeros(len(crops))


def crop_to_look_at(image: NamedImage, side: int = 192) -> np.ndarray:
    """(side, side, 3) uint8 RGB."""
    return Crops([image], side)[0].permute(1, 2, 0).numpy()


class Crops(Dataset):
    """Evaluation crops of images: (3, size, size) uint8 RGB each."""

    def __init__(self, images: Sequence[NamedImage], size: int) -> None:
        self.images = images
        self._cut = Compose([TRANSFORMS.build(step) for step in evaluation_pipeline(size)[1:-1]])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index].read()
        cut = self._cut({'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]})['img']
        return torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1)  # (h, w, 3) -> (3, h, w)
