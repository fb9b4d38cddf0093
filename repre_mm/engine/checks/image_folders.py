"""Find the image folders in a config, and those that are missing, empty or damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from repre_mm.datasets.damage import check_sample
from repre_mm.datasets.image_folder import MAX_BAD_SHARE, check_arguments, resolve_split
from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError, find_images, has_images, walk
from repre_mm.datasets.reading import MAX_PIXELS
from repre_mm.utils.configs import find_nodes, is_transfer


def folder_faults(cfg: Config, sample: bool = True) -> Iterator[str]:
    """Find image folders that are missing, empty, or damaged beyond what the config allows.

    Args:
        cfg: The whole config.
        sample: Read some of the files to estimate the damage; see :func:`repre_mm.datasets.damage.check_sample`.
    """
    said = set()
    loaders = [cfg.get('train_dataloader'), cfg.get('val_dataloader') if cfg.get('val_cfg') is not None else None]
    # One process per machine: the others would read the same files.
    sample = sample and int(os.environ.get('LOCAL_RANK') or os.environ.get('SLURM_LOCALID') or 0) == 0
    checks = [partial(_check_folder, node, sample and not node.get('test_mode')) for node in image_folders(loaders)]
    if sample and is_transfer(cfg):
        checks.append(partial(_check_annotated, cfg.train_dataloader.dataset))
    for check in checks:
        try:
            check()
        except DatasetError as error:
            if str(error) not in said:
                said.add(str(error))
                yield str(error)


def image_folders(part: Any) -> Iterator[ConfigDict]:
    """Yield every ``repre_mm.ImageFolder`` in a part of a config, of data loaders, hooks and wrappers."""
    return find_nodes(part, 'type', 'repre_mm.ImageFolder')


def count_images(dataset: dict, most: int | None = None) -> int | None:
    """Count the images of a data set, ``most`` at most; None for one that is no folder of images.

    Of detection and segmentation, those without annotations count too.

    Raises:
        DatasetError: There is no such folder.
    """
    if dataset.get('type') == 'repre_mm.ImageFolder':
        folder = resolve_split(Path(dataset['root']).expanduser(), dataset.get('split'))
    elif not (folder := _annotated_images(dataset)).is_dir():
        return None
    limit = min((each for each in (most, dataset.get('indices')) if isinstance(each, int)), default=None)
    found = 0
    for listing in walk(folder, dataset.get('extensions', IMAGE_EXTENSIONS)):
        found = len(listing.images)
        if limit is not None and found >= limit:
            return limit
    return found


def _check_folder(dataset: ConfigDict, sample: bool) -> None:
    share = dataset.get('max_bad_share', MAX_BAD_SHARE)
    check_arguments(dataset.get('labels', 'auto'), share)
    root = Path(dataset.root).expanduser()
    if root.is_file():
        raise DatasetError(f'{root} is a file, not a folder of images: unpack it, and name the folder with --data DIR')
    if not root.is_dir():
        made = ', or make toy scenes with `python tools/make_toy_scenes.py data/toy_scenes`'
        raise DatasetError(
            f'the data folder {root} does not exist. Name yours with --data DIR' + (made if 'toy' in str(root) else '')
        )
    folder = resolve_split(root, dataset.get('split'))
    extensions = dataset.get('extensions', IMAGE_EXTENSIONS)
    if not has_images(folder, 1, extensions):
        find_images(folder, extensions)  # raises, saying what is there instead
    if sample:
        first = (dataset.get('pipeline') or [{}])[0]
        check_sample(folder, share, extensions=extensions, max_pixels=first.get('max_pixels', MAX_PIXELS))


def _check_annotated(dataset: ConfigDict) -> None:
    """Check the images of a data set of detection or segmentation; its annotations are checked elsewhere."""
    folder = _annotated_images(dataset)
    if has_images(folder):
        check_sample(folder, MAX_BAD_SHARE, adjustable=False)


def _annotated_images(dataset: dict) -> Path:
    prefix = dataset.get('data_prefix') or {}
    prefix = prefix if isinstance(prefix, dict) else {'img': prefix}
    return Path(dataset.get('data_root') or '').expanduser() / (prefix.get('img') or prefix.get('img_path') or '')
