"""Find the image folders in a config, and those that are missing, empty or damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from repre_mm.datasets.damage import check_sample
from repre_mm.datasets.image_folder import MAX_BAD_SHARE, check_arguments
from repre_mm.datasets.index import index_images, kept_index
from repre_mm.datasets.labels import find_labels
from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError
from repre_mm.datasets.sources import open_source
from repre_mm.datasets.sources.folder import Folder
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
    checks = [partial(_check_images, node, sample and not node.get('test_mode')) for node in image_folders(loaders)]
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
    """Count the images of a data set, ``most`` at most; None for one without any.

    Of detection and segmentation, those without annotations count too.

    Raises:
        DatasetError: There is no such place.
    """
    extensions = dataset.get('extensions', IMAGE_EXTENSIONS)
    if dataset.get('type') == 'repre_mm.ImageFolder':
        source = open_source(dataset['root'], dataset.get('split'), extensions)
    elif (folder := _annotated_images(dataset)).is_dir():
        source = Folder(str(folder), extensions)
    else:
        return None
    limit = min((n for n in (most, dataset.get('indices')) if isinstance(n, int)), default=None)
    found = len(kept_index(source) or source.images(limit))
    return found if limit is None else min(found, limit)


def _check_images(dataset: ConfigDict, sample: bool) -> None:
    labels, share = dataset.get('labels', 'auto'), dataset.get('max_bad_share', MAX_BAD_SHARE)
    decoding = {key: dataset.get(key) for key in ('max_pixels', 'value_range')}
    check_arguments(labels, share, decoding['value_range'])
    root = str(dataset.root)
    source = open_source(root, dataset.get('split'), dataset.get('extensions', IMAGE_EXTENSIONS))
    if isinstance(source, Folder) and not Path(source.place).exists():
        made = ', or make toy scenes with `python tools/make_toy_scenes.py data/toy_scenes`'
        raise DatasetError(
            f'the data folder {root} does not exist. Name yours with --data DIR' + (made if 'toy' in root else '')
        )
    if not source.tree and labels is not False:
        known = dataset.get('metainfo', {}).get('classes')
        find_labels(source, index_images(source), required=labels is True, known=known)
    if sample:
        first = (dataset.get('pipeline') or [{}])[0]
        said = {key: value or first.get(key) for key, value in decoding.items()}
        check_sample(source, share, **{key: value for key, value in said.items() if value})
    else:
        kept_index(source) or source.images(1)


def _check_annotated(dataset: ConfigDict) -> None:
    """Check the images of a data set of detection or segmentation; its annotations are checked elsewhere."""
    folder = _annotated_images(dataset)
    if folder.is_dir():
        check_sample(Folder(str(folder)), MAX_BAD_SHARE)


def _annotated_images(dataset: dict) -> Path:
    prefix = dataset.get('data_prefix') or {}
    prefix = prefix if isinstance(prefix, dict) else {'img': prefix}
    return Path(dataset.get('data_root') or '').expanduser() / (prefix.get('img') or prefix.get('img_path') or '')
