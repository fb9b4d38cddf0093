"""Point a config of detection or segmentation to a data set: folders, classes, heads and image size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from PIL import Image

from repre_mm.datasets.formats.cityscapes import (
    LABEL_SUFFIX,
    CityscapesSplit,
    check_labels,
    find_cityscapes_split,
    find_classes,
    is_cityscapes,
)
from repre_mm.datasets.formats.coco import CocoSplit, check_coco_split, find_coco_split
from repre_mm.datasets.listing import DatasetError
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError

#: A loader of the config, and the split of the data that ``--data`` gives it.
_LOADERS = {'train': 'train', 'val': 'val', 'test': 'val'}


def set_up_transfer(
    cfg: Config,
    data: str | None = None,
    classes: Sequence[str] | None = None,
    image_size: Sequence[int] | None = None,
    loaders: Sequence[str] = ('train', 'val'),
) -> None:
    """Point a config to a data set, take classes and heads from the data, and check the annotations.

    Args:
        cfg: A config of mmdet with ``CocoDataset`` or of mmseg with ``CityscapesDataset`` or ``BaseSegDataset``.
        data: The data set's folder, in COCO's format or laid out as Cityscapes; default: the config's.
        classes: Detection: some of the categories, in place of those that the config names. Segmentation: names, or
            one word, a number or a file of names.
        image_size: One or two numbers, see ``--image-size`` in :mod:`repre_mm.cli.arguments`.
        loaders: The data loaders that will run, out of ``train``, ``val`` and ``test``.

    Raises:
        DatasetError: Files are missing or contradict each other; the message names them and the fix.
        UserError: ``image_size`` does not fit the model or the config.
    """
    if image_size is not None and (len(image_size) > 2 or min(image_size) < 1):
        raise UserError(f'--image-size takes one or two numbers of pixels, got {list(image_size)}')
    data = None if data is None else str(Path(data).expanduser())
    if cfg.default_scope == 'mmdet':
        _set_up_coco(cfg, data, classes, loaders)
        if image_size is not None:
            if next(find_nodes(cfg.train_dataloader, 'type', 'RandomChoiceResize'), None):
                raise UserError(f'--image-size: {cfg.filename} draws from several sizes; use a config that has one')
            short, long = min(image_size), max(image_size) if len(image_size) == 2 else image_size[0] * 5 // 3
            for resize in find_nodes(cfg._cfg_dict, 'type', 'Resize'):
                resize.scale = (long, short)
    else:
        _set_up_cityscapes(cfg, data, classes, loaders)
        if image_size is not None:
            _set_crop(cfg, image_size[0], image_size[-1])


def _set_up_coco(cfg: Config, data: str | None, wanted: Sequence[str] | None, loaders: Sequence[str]) -> None:
    if data is not None:
        cfg.data_root = data
    datasets = {loader: _dataset(cfg, loader) for loader in loaders}
    found: dict[Path, dict[int, str]] = {}
    for loader, dataset in datasets.items():
        if data is None:
            root = Path(dataset.get('data_root') or '').expanduser()
            split = CocoSplit(root / dataset.ann_file, root / dataset.data_prefix.get('img', ''))
        else:
            split = find_coco_split(data, _LOADERS[loader])
        found[split.ann_file] = check_coco_split(split)
        dataset.update(data_root='', ann_file=str(split.ann_file), data_prefix={'img': f'{split.images}/'})
        for evaluator in find_nodes(cfg.get(f'{loader}_evaluator'), 'type', 'CocoMetric'):
            evaluator.ann_file = str(split.ann_file)
    (first, categories), *others = found.items()
    for other, theirs in others:
        if list(theirs.items()) != list(categories.items()):
            differing = set(theirs.items()) ^ set(categories.items())
            what = f'for instance in {min(differing, key=str)}' if differing else 'in their order'
            raise DatasetError(f'the categories of {first} and {other} differ, {what}: labels would not mean the same')

    said_by = '--classes' if wanted else 'metainfo.classes'
    wanted = wanted or next((d.metainfo.classes for d in datasets.values() if 'classes' in d.get('metainfo', {})), ())
    unknown = [name for name in wanted if name not in categories.values()]
    if unknown:
        raise DatasetError(
            f'{said_by} {" ".join(unknown)}: no such category in {first}, which has {", ".join(categories.values())}'
        )
    # In the order of the file, which numbers the labels.
    names = [name for name in categories.values() if not wanted or name in wanted]
    for dataset in datasets.values():
        # No palette: the visualizer draws one of the right length.
        dataset.metainfo = {'classes': names, 'palette': None}
    _set_num_classes(cfg, len(names))


def _set_up_cityscapes(cfg: Config, data: str | None, given: Sequence[str] | None, loaders: Sequence[str]) -> None:
    from mmseg.datasets import CityscapesDataset  # needs mmcv's compiled ops, which pre-training does without

    datasets = {loader: _dataset(cfg, loader) for loader in loaders}
    root = data or next(iter(datasets.values())).data_root
    splits = {loader: find_cityscapes_split(root, _LOADERS[loader]) for loader in loaders}
    if data is not None:
        cfg.data_root = data
    own = next((dataset.metainfo for dataset in datasets.values() if 'metainfo' in dataset), None)
    if not given and own is not None and data is None:
        names, palette = list(own.classes), own.get('palette', [])
    elif not given and is_cityscapes(root):
        names, palette = (list(CityscapesDataset.METAINFO[key]) for key in ('classes', 'palette'))
    else:
        names, palette = find_classes(root, given)
    for loader, dataset in datasets.items():
        check_labels(splits[loader], len(names))
        dataset.update(
            # CityscapesDataset insists on its own 19 classes; otherwise they are the same.
            type='BaseSegDataset',
            data_root=str(root),
            img_suffix=splits[loader].image_suffix,
            seg_map_suffix=LABEL_SUFFIX,
            metainfo={'classes': names, 'palette': palette},
        )
    if data is not None and not is_cityscapes(root):
        _set_scale(cfg, splits)
    _set_num_classes(cfg, len(names))


def _set_scale(cfg: Config, splits: dict[str, CityscapesSplit]) -> None:
    """Work at the images' own size, as the recipes do on Cityscapes."""
    with Image.open(next(iter(splits.values())).images[0]) as image:
        scale = image.size
    for name in ('Resize', 'RandomResize'):
        for resize in find_nodes(cfg._cfg_dict, 'type', name):
            resize.scale = scale


def _set_crop(cfg: Config, height: int, width: int) -> None:
    backbone = cfg.model.backbone
    patch = backbone.get('patch_size', 1) if 'img_size' in backbone else 1
    if height % patch or width % patch:
        raise UserError(f'--image-size {height} {width}: the sides must be multiples of the patch size, {patch}')
    for crop in find_nodes(cfg._cfg_dict, 'type', 'RandomCrop'):
        crop.crop_size = (height, width)
    cfg.model.data_preprocessor.size = (height, width)
    if cfg.model.test_cfg.mode == 'slide':
        cfg.model.test_cfg.update(crop_size=(height, width), stride=(height * 2 // 3, width * 2 // 3))
    if backbone.type.endswith('VisionTransformer'):
        backbone.img_size = (height, width)


def _set_num_classes(cfg: Config, count: int) -> None:
    for head in find_nodes(cfg.model, 'num_classes'):
        head.num_classes = count


def _dataset(cfg: Config, loader: str) -> ConfigDict:
    """A loader's data set, or the one inside a wrapper such as RepeatDataset."""
    dataset = cfg[f'{loader}_dataloader'].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset
