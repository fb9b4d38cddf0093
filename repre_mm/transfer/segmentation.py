"""Point a config of mmseg to a data set: folders, classes, heads; read every mask and say what was found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset

from repre_mm.datasets.formats.classes import find_classes, numbered
from repre_mm.datasets.formats.labels import LABELS, count_pixels, upright_size
from repre_mm.datasets.formats.masks import VOID, is_cityscapes, locate_split
from repre_mm.datasets.listing import DatasetError
from repre_mm.transfer.datasets import build_dataset, describe_classes, inner_datasets
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError
from repre_mm.visualization.overlays import label_colours

_MASK_FOLDER = 'repre_mm.MaskFolder'


def set_up_segmentation(
    cfg: Config,
    splits: dict[str, str],
    data: str | None,
    masks: str | None,
    classes: Sequence[str] | None,
    ignore_label: int | None,
) -> list[str]:
    """Point the data loaders to a data set and the heads to its classes.

    Args:
        cfg: A config of mmseg.
        splits: Data loader -> split of the data.
        data: The images, see :func:`repre_mm.datasets.formats.masks.locate_split`; None: what the config says.
        masks: The masks; None for a folder laid out as Cityscapes.
        classes: See :func:`repre_mm.datasets.formats.classes.find_classes`.
        ignore_label: Label of void, beside 255.

    Returns:
        What was found, line by line.

    Raises:
        DatasetError: Files are missing or contradict each other, or a mask has a label that is no class.
        UserError: An option does not fit the config.
    """
    datasets = {loader: inner_datasets(cfg[f'{loader}_dataloader'].dataset) for loader in splits}
    every = [dataset for several in datasets.values() for dataset in several]
    if data is not None:
        for loader, several in datasets.items():
            _replace(several, data, masks, splits[loader])
        cfg.data_root = data
        if masks is not None or not is_cityscapes(data):
            _set_scale(cfg, build_dataset(cfg, every[0]))
    elif masks is not None:
        raise UserError('--masks DIR goes with --data DIR, the folder of images')
    if ignore_label is not None:
        _ignore(every, ignore_label)
    said = []
    names, colours = _named_classes(data, masks, classes)
    if not names and not build_dataset(cfg, every[0]).metainfo.get('classes'):
        names = numbered(_count_classes(cfg, every, data, masks))
        said = [f'nothing names the classes: the masks have {len(names)}, labels 0 to {len(names) - 1}; see --classes']
        if ignore_label is None:
            said.append(f'if one of them is void, add --ignore-label N, for instance {len(names) - 1}')
    for dataset in every if names else ():
        dataset.metainfo = {'classes': names}
        if dataset.type == _MASK_FOLDER:  # mmseg's own have a palette
            dataset.metainfo.palette = colours or label_colours(len(names)).tolist()

    found = {loader: [build_dataset(cfg, dataset) for dataset in several] for loader, several in datasets.items()}
    names = list(next(iter(found.values()))[0].metainfo['classes'])
    void = {VOID, cfg.model.decode_head.get('ignore_index', VOID)}
    pixels = {
        loader: np.sum([_pixels_of_classes(dataset, len(names), void) for dataset in several], 0)
        for loader, several in found.items()
    }
    for head in find_nodes(cfg.model, 'num_classes'):
        head.num_classes = len(names)
    sizes = {loader: sum(map(len, several)) for loader, several in found.items()}
    return said + describe_classes(names, sizes, pixels, 'pixel')


def _replace(datasets: list[ConfigDict], data: str, masks: str | None, split: str) -> None:
    if len(datasets) > 1:
        raise UserError('--data takes the place of one data set, and the config joins several: name them there')
    kept = {key: datasets[0][key] for key in ('pipeline', 'test_mode') if key in datasets[0]}
    datasets[0].clear()
    datasets[0].update(type=_MASK_FOLDER, **locate_split(data, masks, split), **kept)


def _set_scale(cfg: Config, dataset: BaseDataset) -> None:
    """Work at the images' own size, as the recipes do on Cityscapes."""
    sizes = (upright_size(dataset.get_data_info(index)['img_path']) for index in range(len(dataset)))
    scale = next(filter(None, sizes), None)  # a training passes over damaged images
    for kind in ('Resize', 'RandomResize'):
        for resize in find_nodes(cfg._cfg_dict, 'type', kind) if scale else ():
            resize.scale = scale


def _ignore(datasets: list[ConfigDict], label: int) -> None:
    if not 0 <= label <= VOID:
        raise UserError(f'--ignore-label {label} must lie in 0 to {VOID}')
    for dataset in datasets:
        if dataset.type != _MASK_FOLDER:
            raise UserError(
                f'--ignore-label {label} goes with --data DIR; for the {dataset.type} of the config set '
                'reduce_zero_label of the data set there, or ignore_index of heads and metric'
            )
        dataset.ignore_label = label


def _named_classes(data: str | None, masks: str | None, given: Sequence[str] | None) -> tuple[list, list]:
    """Names and colours from the command line or the data's folder; empty if these name none."""
    if data and not given and masks is None and is_cityscapes(data):
        from mmseg.datasets import CityscapesDataset  # needs mmcv's compiled ops, which pre-training does without

        return tuple(list(CityscapesDataset.METAINFO[key]) for key in ('classes', 'palette'))
    return (find_classes(data or '', given) if data or given else None) or ([], [])


def _count_classes(cfg: Config, datasets: list[ConfigDict], data: str | None, masks: str | None) -> int:
    """One more than the highest label of all splits, so that training and testing agree."""
    for split in ('train', 'val') if data else ():
        with suppress(DatasetError):  # a test needs no training data
            other = ConfigDict({**datasets[0], **locate_split(data, masks, split)})
            datasets = [*datasets, other]
    counted = sum(_sum_mapped(*_labels(build_dataset(cfg, dataset))) for dataset in datasets)
    labels = [int(label) for label in counted.nonzero()[0] if label != VOID]
    if labels in ([], [0]):
        raise DatasetError(
            f'the masks hold the labels {labels} and {VOID} (void) only: nothing to learn. Write 0, 1, ... for classes'
        )
    return labels[-1] + 1


def _pixels_of_classes(dataset: BaseDataset, count: int, void: set[int]) -> np.ndarray:
    """Pixels of each class and of void, (classes + 1,); raises where a mask has another label."""
    counts, mapped = _labels(dataset)
    wrong = ~np.isin(mapped, [*range(count), *void])
    masks = counts[:, wrong].any(1).nonzero()[0]
    if len(masks):
        first = counts[masks[0]]
        label = int((first * wrong).nonzero()[0][0])
        raise DatasetError(
            f'{len(masks):,} of {len(counts):,} masks have a label that is no class: '
            f'{dataset.get_data_info(masks[0])["seg_map_path"]} has the label {label} on {first[label]:,} pixels, but '
            f'there are {count} classes (0 to {count - 1}, and {VOID} for void). Name the classes with --classes and '
            f'the label of void with --ignore-label, or write other labels into the masks'
        )
    of_labels = _sum_mapped(counts, mapped)
    is_void = np.isin(np.arange(LABELS), [*void])
    return np.append(np.where(is_void, 0, of_labels)[:count], of_labels[is_void].sum())


def _sum_mapped(counts: np.ndarray, mapped: np.ndarray) -> np.ndarray:
    return np.bincount(mapped, counts.sum(0), LABELS).astype(np.int64)


def _labels(dataset: BaseDataset) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each label in each mask, (masks, 256), and what a training makes of each label, (256,)."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    mapped = np.arange(LABELS)
    if infos[0]['reduce_zero_label']:
        mapped = np.where(mapped % VOID == 0, VOID, mapped - 1)
    mapped = np.array([(infos[0]['label_map'] or {}).get(label, label) for label in mapped])
    return count_pixels([(info['img_path'], info['seg_map_path']) for info in infos]), mapped
