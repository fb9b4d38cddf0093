"""Point a config of mmdet to a data set: annotation files, classes, heads; say what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from repre_mm.datasets import DatasetError, find_images
from repre_mm.datasets.formats.coco import CocoSplit, find_coco_split, read_coco_split
from repre_mm.transfer.datasets import build_dataset, describe_classes, inner_datasets
from repre_mm.utils.configs import find_nodes


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
    datasets = inner_datasets(cfg, splits, data)
    every = [dataset for several in datasets.values() for dataset in several]
    said, sizes, counts = [], Counter(), {}
    if data or all(str(dataset.get('ann_file')).endswith('.json') for dataset in every):
        read = {
            loader: [_read(cfg, loader, dataset, data, splits[loader]) for dataset in several]
            for loader, several in datasets.items()
        }
        categories = _common_categories([split for several in read.values() for split in several])
        wanted = classes or next((d.metainfo.classes for d in every if 'classes' in d.get('metainfo', {})), ())
        if unknown := [name for name in wanted if name not in categories.values()]:
            raise DatasetError(
                f'{"--classes" if classes else "metainfo.classes"} {" ".join(unknown)}: no such category in '
                f'{every[0].ann_file}, which has {", ".join(categories.values())}'
            )
        # In the order of the file, which numbers the labels.
        classes = [name for name in categories.values() if not wanted or name in wanted]
        for loader, several in read.items():
            objects = sum((split.objects for split in several), Counter())
            sizes[loader] = sum(len(split.images) for split in several)
            counts[loader] = [objects[key] for key, name in categories.items() if name in classes]
            for split in several:
                if missing := set(split.images) - {*find_images(split.folder, [''])}:
                    said.append(
                        f'{len(missing):,} images of {split.ann_file} are not in {split.folder}, such as {min(missing)}'
                    )
    for dataset in every if classes else ():
        # No palette: the visualizer draws one of the right length.
        dataset.metainfo = {'classes': list(classes), 'palette': None}
    if not counts:  # mmdet's other data sets, such as VOCDataset, know their classes themselves
        for loader, several in datasets.items():
            built = [build_dataset(cfg, dataset) for dataset in several]
            classes = list(built[0].metainfo.get('classes') or ())
            if not classes:
                raise DatasetError(f'{several[0].type} of the config names no classes: set metainfo.classes')
            infos = [part.get_data_info(index) for part in built for index in range(len(part))]
            objects = Counter(one['bbox_label'] for info in infos for one in info.get('instances', ()))
            sizes[loader], counts[loader] = len(infos), [objects[label] for label in range(len(classes))]
    for head in find_nodes(cfg.model, 'num_classes'):
        head.num_classes = len(classes)
    return said + describe_classes(classes, sizes, counts, 'object')


def _read(cfg: Config, loader: str, dataset: ConfigDict, data: str | None, split: str) -> CocoSplit:
    """Read a split, and write its files into its data set and metric."""
    if data is not None:
        found = find_coco_split(data, split)
    else:
        root = Path(dataset.get('data_root') or '').expanduser()
        found = read_coco_split(root / dataset.ann_file, [root / dataset.get('data_prefix', {}).get('img', '')])
    dataset.update(data_root='', ann_file=str(found.ann_file), data_prefix={'img': f'{found.folder}/'})
    for evaluator in find_nodes(cfg.get(f'{loader}_evaluator'), 'type', 'CocoMetric'):
        evaluator.ann_file = str(found.ann_file)
    return found


def _common_categories(splits: Sequence[CocoSplit]) -> dict[int, str]:
    first, *others = splits
    for other in others:
        if list(other.categories.items()) != list(first.categories.items()):
            raise DatasetError(
                f'{first.ann_file} and {other.ann_file} list other categories, or the same in another order: labels '
                'would not mean the same'
            )
    return first.categories
