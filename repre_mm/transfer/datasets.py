"""Data sets named in a config of mmdet or mmseg: find them, build them without their pipeline, describe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from repre_mm.datasets.listing import DatasetError


def inner_datasets(dataset: ConfigDict) -> list[ConfigDict]:
    """Return the data sets inside wrappers such as RepeatDataset and ConcatDataset, or the data set itself."""
    inside = [*dataset.get('datasets', ()), *([dataset.dataset] if 'dataset' in dataset else [])]
    return [inner for child in inside for inner in inner_datasets(child)] or [dataset]


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
        f'  {"class":<{width}}' + ''.join(f'{loader:>14}{"":10}' for loader in counts),
    ]
    rows = [*names, 'void'][: max(map(len, counts.values()))]
    for row, name in enumerate(rows):
        cells = (f'{column[row]:>14,} ({column[row] / max(sum(column), 1):>5.1%})' for column in counts.values())
        lines.append(f'  {name:<{width}}' + ''.join(f'{cell:<24}' for cell in cells))
    for loader, column in counts.items():
        missing = [name for name, count in zip(names, column, strict=False) if not count]
        if missing:
            lines.append(f'no {unit} for {loader} of: {", ".join(missing)}')
    return [line.rstrip() for line in lines]
