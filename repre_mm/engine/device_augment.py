"""Apply ``device_augment = True`` of a config: the loader crops and flips the views, the device does the rest."""

from __future__ import annotations

from mmengine.config import Config

from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError

_LOADERS_STEPS = ('RandomResizedCrop', 'RandomFlip')  # a flip may come first, since the rest is symmetric
_KINDS = ('SelfSupDataPreprocessor', 'mmpretrain.SelfSupDataPreprocessor')


def augment_on_device(cfg: Config) -> None:
    """Move what follows crop and flip in each view from the training pipeline to the data preprocessor.

    The distributions stay the same. A config that was rewritten already, such as a saved one, is left alone.

    Args:
        cfg: Changed in place; ``device_augment`` is removed.

    Raises:
        UserError: The training pipeline does not have exactly one ``repre_mm.FastMultiView``, or the data preprocessor
            is not mmpretrain's.
    """
    if not cfg.pop('device_augment', False):
        return
    preprocessor = cfg.get('data_preprocessor') or {}
    if preprocessor.get('type') == 'repre_mm.DeviceAugmentPreprocessor':
        return
    found = list(find_nodes(cfg.get('train_dataloader'), 'type', 'repre_mm.FastMultiView'))
    if len(found) != 1:
        raise UserError(
            f'device_augment needs one repre_mm.FastMultiView in train_dataloader.dataset.pipeline; it has {len(found)}'
        )
    own = any(part.get('data_preprocessor') for part in (cfg.model, cfg.model.get('algorithm') or {}))
    if preprocessor.get('type') not in _KINDS or not preprocessor.get('to_rgb') or own:
        raise UserError(
            "device_augment replaces data_preprocessor=dict(type='SelfSupDataPreprocessor', to_rgb=True, ...), which "
            f'must stand at the top of the config and nowhere in model; the one there is {dict(preprocessor)}'
        )
    (views,) = found
    cfg.data_preprocessor = {
        **preprocessor,
        'type': 'repre_mm.DeviceAugmentPreprocessor',
        'num_views': views.num_views,
        'transforms': [[step for step in steps if not _is_loaders(step)] for steps in views.transforms],
    }
    views.transforms = [[step for step in steps if _is_loaders(step)] for steps in views.transforms]


def _is_loaders(step: dict) -> bool:
    return step['type'].rpartition('.')[2] in _LOADERS_STEPS
