"""Point a config of detection or segmentation to a data set: folders, classes, heads and image size."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from repre_mm.transfer.detection import set_up_detection
from repre_mm.transfer.segmentation import set_up_segmentation
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError

# OpenMMLab's inferencers look for these names in the pipeline of the test loader and replace what they find.
_PLAIN = {
    'repre_mm.LoadImage': {'type': 'LoadImageFromFile'},
    'repre_mm.LoadLabelMap': {'type': 'LoadAnnotations'},
}


def set_up_transfer(
    cfg: Config,
    data: str | None = None,
    classes: Sequence[str] | None = None,
    image_size: Sequence[int] | None = None,
    loaders: Sequence[str] = ('train', 'val'),
    *,
    masks: str | None = None,
    ignore_label: int | None = None,
    test_split: str = 'val',
) -> list[str]:
    """Point a config to a data set, take classes and heads from the data, and check the annotations.

    The result, once saved, also runs in mmdet's ``DetInferencer`` and mmseg's ``MMSegInferencer``.

    Args:
        cfg: A config of mmdet or mmseg.
        data: The data set's folder: in COCO's format, laid out as Cityscapes, or of images that have masks elsewhere.
            Default: the data sets of the config, of any type.
        classes: Detection: some of the categories, in place of those that the config names. Segmentation: names, or
            one word, a number or a file of names.
        image_size: One or two numbers, see ``--image-size`` in :mod:`repre_mm.cli.arguments`.
        loaders: The data loaders that will run, out of ``train``, ``val`` and ``test``.
        masks: Segmentation: folder of masks.
        ignore_label: Segmentation: label of void.
        test_split: The split of ``data`` for the test loader.

    Returns:
        What was found, line by line.

    Raises:
        DatasetError: Files are missing or contradict each other; the message names them and the fix.
        UserError: An option does not fit the model or the config.
    """
    if image_size is not None and (len(image_size) > 2 or min(image_size) < 1):
        raise UserError(f'--image-size takes one or two numbers of pixels, got {list(image_size)}')
    data = None if data is None else str(Path(data).expanduser())
    splits = {loader: test_split if loader == 'test' else loader for loader in loaders}
    tests_as_it_validates = cfg.get('test_dataloader') == cfg.get('val_dataloader')
    if cfg.default_scope == 'mmdet':
        if masks is not None or ignore_label is not None:
            raise UserError('--masks and --ignore-label are for segmentation only')
        found = set_up_detection(cfg, splits, data, classes)
        if image_size is not None:
            _set_scales(cfg, image_size)
    else:
        found = set_up_segmentation(cfg, splits, data, masks, classes, ignore_label)
        if image_size is not None:
            _set_crop(cfg, image_size[0], image_size[-1])
    if 'test' not in loaders and (data or tests_as_it_validates):
        cfg.test_dataloader, cfg.test_evaluator = copy.deepcopy((cfg.val_dataloader, cfg.val_evaluator))
    for dataset in find_nodes(cfg.get('test_dataloader'), 'pipeline'):
        dataset.pipeline = [_PLAIN.get(step.type, step) for step in dataset.pipeline]
        cfg.test_pipeline = copy.deepcopy(dataset.pipeline)
    return found


def _set_scales(cfg: Config, image_size: Sequence[int]) -> None:
    if next(find_nodes(cfg.train_dataloader, 'type', 'RandomChoiceResize'), None):
        raise UserError(f'--image-size: {cfg.filename} draws from several sizes; use a config that has one')
    short, long = min(image_size), max(image_size) if len(image_size) == 2 else image_size[0] * 5 // 3
    for resize in find_nodes(cfg._cfg_dict, 'type', 'Resize'):
        resize.scale = (long, short)


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
