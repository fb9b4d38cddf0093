"""Point a config of mmdet to a data set: annotation files, classes, heads; say what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from repre_mm.datasets.formats.coco import CocoSplit, check_coco_split, count_objects, find_coco_split
from repre_mm.datasets.listing import DatasetError
from repre_mm.transfer.datasets import build_dataset, describe_classes, inner_datasets
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError


def set_up_detection(cfg: Config, splits: dict[str, str], data: str | None, classes: Sequence[str] | None) -> list[str]:
    """Point the data loaders to a data set and the heads to its classes.

    Args:
        cfg: A config of mmdet.
        splits: Data loader -> split of the data.
        data: Folder of a data set in COCO's format; None: the data sets of the config, of any type.
        classes: Some of the categories, in place of those that the config names.

    Returns:
        What was found, line by line.

    Raises:
        DatasetError: Files are missing or contradict each other; the message names them and the fix.
        UserError: The config joins several data sets, and ``data`` would replace one.
    """
    datasets = {loader: inner_datasets(cfg[f'{loader}_dataloader'].dataset) for loader in splits}
    every = [dataset for several in datasets.values() for dataset in several]
    if data is not None:
        cfg.data_root = data
        if len(every) > len(datasets):
            raise UserError('--data takes the place of one data set, and the config joins several: name them there')
    elif not all(str(dataset.get('ann_file')).endswith('.json') for dataset in every):
        return _set_up_others(cfg, datasets, classes)
    files = {}
    for loader, several in datasets.items():
        files[loader] = [_point_to_coco(cfg, loader, dataset, data, splits[loader]) for dataset in several]
    categories = _common_categories([split for several in files.values() for split in several])
    said_by = '--classes' if classes else 'metainfo.classes'
    wanted = classes or next((d.metainfo.classes for d in every if 'classes' in d.get('metainfo', {})), ())
    unknown = [name for name in wanted if name not in categories.values()]
    if unknown:
        raise DatasetError(
            f'{said_by} {" ".join(unknown)}: no such category in {every[0].ann_file}, which has '
            f'{", ".join(categories.values())}'
        )
    # In the order of the file, which numbers the labels.
    chosen = {number: name for number, name in categories.items() if not wanted or name in wanted}
    for dataset in every:
        # No palette: the visualizer draws one of the right length.
        dataset.metainfo = {'classes': list(chosen.values()), 'palette': None}
    sizes, counts = {}, {}
    for loader, several in files.items():
        counted = [count_objects(split.ann_file) for split in several]
        sizes[loader] = sum(images for images, _ in counted)
        objects = sum((objects for _, objects in counted), Counter())
        other = objects.keys() - categories.keys()
        if other:
            raise DatasetError(f'{several[0].ann_file} has objects of category {min(other)}, which "categories" lacks')
        counts[loader] = [objects[key] for key in chosen]
    return _finish(cfg, list(chosen.values()), sizes, counts)


def _point_to_coco(cfg: Config, loader: str, dataset: ConfigDict, data: str | None, split: str) -> CocoSplit:
    """Write a split's files into a data set and its metric."""
    if data is not None:
        found = find_coco_split(data, split)
    else:
        root = Path(dataset.get('data_root') or '').expanduser()
        found = CocoSplit(root / dataset.ann_file, root / dataset.get('data_prefix', {}).get('img', ''))
    dataset.update(data_root='', ann_file=str(found.ann_file), data_prefix={'img': f'{found.images}/'})
    for evaluator in find_nodes(cfg.get(f'{loader}_evaluator'), 'type', 'CocoMetric'):
        evaluator.ann_file = str(found.ann_file)
    return found


def _common_categories(splits: Sequence[CocoSplit]) -> dict[int, str]:
    categories = {split.ann_file: check_coco_split(split) for split in splits}
    (first, ours), *others = categories.items()
    for other, theirs in others:
        if list(theirs.items()) != list(ours.items()):
            differing = set(theirs.items()) ^ set(ours.items())
            what = f'for instance in {min(differing, key=str)}' if differing else 'in their order'
            raise DatasetError(f'the categories of {first} and {other} differ, {what}: labels would not mean the same')
    return ours


def _set_up_others(cfg: Config, datasets: dict[str, list[ConfigDict]], classes: Sequence[str] | None) -> list[str]:
    """Take the classes of mmdet's other data sets, such as VOCDataset, from themselves."""
    sizes, counts = {}, {}
    for loader, several in datasets.items():
        objects: Counter[int] = Counter()
        for dataset in several:
            if classes:
                dataset.metainfo = {'classes': list(classes), 'palette': None}
            built = build_dataset(cfg, dataset)
            names = list(built.metainfo.get('classes') or ())
            if not names:
                raise DatasetError(f'{dataset.type} of the config names no classes: set metainfo.classes')
            sizes[loader] = sizes.get(loader, 0) + len(built)
            for index in range(len(built)):
                objects.update(one['bbox_label'] for one in built.get_data_info(index).get('instances', ()))
        counts[loader] = [objects[label] for label in range(len(names))]
    return _finish(cfg, names, sizes, counts)


def _finish(cfg: Config, names: list[str], sizes: dict[str, int], counts: dict[str, list[int]]) -> list[str]:
    for head in find_nodes(cfg.model, 'num_classes'):
        head.num_classes = len(names)
    return describe_classes(names, sizes, counts, 'object')
