"""Data sets named in a config of mmdet or mmseg: find them, build them without their pipeline, describe them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from repre_mm.datasets.listing import DatasetError
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError


def inner_datasets(cfg: Config, loaders: Iterable[str], data: str | None) -> dict[str, list[ConfigDict]]:
    """Find the data sets of each loader, also inside wrappers such as RepeatDataset and ConcatDataset.

    Raises:
        UserError: There are several, and ``data`` would take the place of one.
    """
    found = {}
    for loader in loaders:
        nodes = find_nodes(cfg[f'{loader}_dataloader'].dataset, 'pipeline')
        found[loader] = [node for node in nodes if 'dataset' not in node]
        if data is not None and len(found[loader]) > 1:
            raise UserError('--data takes the place of one data set, and the config joins several: name them there')
    return found


def build_dataset(cfg: Config, dataset: ConfigDict) -> BaseDataset:
    """List the samples of a data set.

    Raises:
        DatasetError: A file or folder is missing, or there is no sample.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        try:
            built = DATASETS.build({**dataset, 'pipeline': [], 'test_mode': False, 'lazy_init': False})
        except OSError as error:
            raise DatasetError(
                f'{dataset.type}: {error}. Name your data with --data DIR, or set data_root in the config'
            ) from error
    if not len(built):
        raise DatasetError(
            f'{dataset.type} finds no sample: compare its folders and suffixes in the config with the files'
        )
    return built


def describe_classes(
    names: Sequence[str], sizes: Mapping[str, int], counts: Mapping[str, Sequence[int]], unit: str
) -> list[str]:
    """Say what each loader has of each class, and which classes are missing.

    Args:
        names: Of the classes.
        sizes: Loader -> number of images.
        counts: Loader -> pixels or objects of each class, and of void where there is one number more.
        unit: What is counted.

    Returns:
        Lines for people.
    """
    width = max(map(len, (*names, 'class')))
    lines = [
        f'found {", ".join(f"{size:,} images for {loader}" for loader, size in sizes.items())}; {unit}s of each class:',
        f'  {"class":<{width}}' + ''.join(f'{loader:>14}{"":10}' for loader in counts).rstrip(),
    ]
    for name, *row in zip([*names, 'void'], *counts.values(), strict=False):
        shares = (f'({n / max(sum(column), 1):>5.1%})' for n, column in zip(row, counts.values(), strict=True))
        cells = (f'{n:>14,} {share:<9}' for n, share in zip(row, shares, strict=True))
        lines.append(f'  {name:<{width}}{"".join(cells)}'.rstrip())
    for loader, column in counts.items():
        missing = [name for name, count in zip(names, column, strict=False) if not count]
        if missing:
            lines.append(f'no {unit} for {loader} of: {", ".join(missing)}')
    return lines
