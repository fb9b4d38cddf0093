"""Point a config of mmseg to a data set: folders, classes, heads; read every mask and say what was found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset

from repre_mm.datasets.formats.labels import LABELS, count_pixels, upright_size
from repre_mm.datasets.formats.masks import VOID, find_classes, locate_split
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
        classes: See :func:`repre_mm.datasets.formats.masks.find_classes`.
        ignore_label: Label of void, beside 255.

    Returns:
        What was found, line by line.

    Raises:
        DatasetError: Files are missing or contradict each other, or a mask has a label that is no class.
        UserError: An option does not fit the config.
    """
    if data is None and masks is not None:
        raise UserError('--masks DIR goes with --data DIR, the folder of images')
    datasets = inner_datasets(cfg, splits, data)
    every = [dataset for several in datasets.values() for dataset in several]
    if data is not None:
        _point_to(cfg, datasets, splits, data, masks, bool(masks or classes or ignore_label is not None))
    if ignore_label is not None:
        if not data or not 0 <= ignore_label <= VOID:
            raise UserError(
                f'--ignore-label {ignore_label} must lie in 0 to {VOID} and goes with --data DIR; for the data sets of '
                'the config set ignore_label or reduce_zero_label there, or ignore_index of heads and metric'
            )
        for dataset in every:
            dataset.ignore_label = ignore_label
    said = []
    names = find_classes(data or '', classes) if data or classes else []
    if not names and not build_dataset(cfg, every[0]).metainfo.get('classes'):
        names = find_classes('', [str(_count_classes(cfg, every, data, masks))])
        said = [f'nothing names the classes: the masks have {len(names)}, labels 0 to {len(names) - 1}; see --classes']
        if ignore_label is None:
            said.append(f'if one of them is void, add --ignore-label N, for instance {len(names) - 1}')
    for dataset in every if names else ():
        dataset.metainfo = {'classes': names}
        if dataset.type == _MASK_FOLDER:  # mmseg's own have a palette
            dataset.metainfo.palette = label_colours(len(names)).tolist()

    found = {loader: [build_dataset(cfg, dataset) for dataset in several] for loader, several in datasets.items()}
    names = list(next(iter(found.values()))[0].metainfo['classes'])
    void = {VOID, cfg.model.decode_head.get('ignore_index', VOID)}
    pixels = {
        loader: sum(_pixels_of_classes(dataset, len(names), void) for dataset in several)
        for loader, several in found.items()
    }
    for head in find_nodes(cfg.model, 'num_classes'):
        head.num_classes = len(names)
    sizes = {loader: sum(map(len, several)) for loader, several in found.items()}
    return said + describe_classes(names, sizes, pixels, 'pixel')


def _point_to(
    cfg: Config, datasets: dict[str, list[ConfigDict]], splits: dict[str, str], data: str, masks: str | None, own: bool
) -> None:
    """Write the folders of a data set into a config, and the size of its images."""
    cfg.data_root = data
    cities = 'gtFine/train/aachen', 'gtFine/val/frankfurt'
    cityscapes = not own and all((Path(data) / city).is_dir() for city in cities)
    for loader, (dataset,) in datasets.items():
        split = splits[loader]
        kept = {key: dataset[key] for key in ('pipeline', 'test_mode') if key in dataset}
        dataset.clear()
        if cityscapes:
            prefix = dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}')
            dataset.update(type='CityscapesDataset', data_root=data, data_prefix=prefix, **kept)
        else:
            dataset.update(type=_MASK_FOLDER, **locate_split(data, masks, split), **kept)
    if not cityscapes:  # work at the images' own size, as the recipes do on Cityscapes
        sizes = (upright_size(info['img_path']) for info in build_dataset(cfg, next(iter(datasets.values()))[0]))
        scale = next(filter(None, sizes), None)  # a training passes over damaged images
        for kind in ('Resize', 'RandomResize') if scale else ():
            for resize in find_nodes(cfg._cfg_dict, 'type', kind):
                resize.scale = scale


def _count_classes(cfg: Config, datasets: list[ConfigDict], data: str | None, masks: str | None) -> int:
    """One more than the highest label of all splits, so that training and testing agree."""
    for split in ('train', 'val') if data else ():
        with suppress(DatasetError):  # a test needs no training data
            datasets = [*datasets, ConfigDict({**datasets[0], **locate_split(data, masks, split)})]
    counted = sum(_labels(build_dataset(cfg, dataset)).sum(0) for dataset in datasets)
    labels = [int(label) for label in counted.nonzero()[0] if label != VOID]
    if labels in ([], [0]):
        raise DatasetError(
            f'the masks hold the labels {labels} and {VOID} (void) only: nothing to learn. Write 0, 1, ... for classes'
        )
    return labels[-1] + 1


def _pixels_of_classes(dataset: BaseDataset, count: int, void: set[int]) -> np.ndarray:
    """Pixels of each class and of void, (classes + 1,); raises where a mask has another label."""
    pixels, labels = _labels(dataset), np.arange(LABELS)
    is_void = np.isin(labels, [*void])
    wrong = ~is_void & (labels >= count)
    masks = pixels[:, wrong].any(1).nonzero()[0]
    if len(masks):
        first = pixels[masks[0]] * wrong
        raise DatasetError(
            f'{len(masks):,} of {len(pixels):,} masks have a label that is no class: '
            f'{dataset.get_data_info(masks[0])["seg_map_path"]} gives the label {first.argmax()} on {first.max():,} '
            f'pixels, but there are {count} classes (0 to {count - 1}, and {VOID} for void). Name the classes with '
            '--classes and the label of void with --ignore-label, or write other labels into the masks'
        )
    total = pixels.sum(0)
    return np.append(np.where(is_void, 0, total)[:count], total[is_void].sum())


def _labels(dataset: BaseDataset) -> np.ndarray:
    """Pixels of each label in each mask, (masks, 256): the labels as a training reads them."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    counts = count_pixels([(info['img_path'], info['seg_map_path']) for info in infos])
    read = np.zeros_like(counts)
    for label, pixels in enumerate(counts.T):
        if infos[0]['reduce_zero_label']:
            label = VOID if label % VOID == 0 else label - 1
        read[:, (infos[0]['label_map'] or {}).get(label, label)] += pixels
    return read
