"""The tiny trainings: configs, images."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from repre_mm.toy_scenes import make_toy_scenes

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('mocov3', 'moby', 'dino', 'setr')  # 'setr': segmentation on top of an encoder
EPOCHS, BATCHES = 6, 4
ITERATIONS = EPOCHS * BATCHES
#: Seconds without progress after which a frozen rank ends the training.
HANG_TIMEOUT = 30
_MLP = dict(hid_channels=32, out_channels=16)
_HEADS = {
    'mocov3': dict(neck=dict(in_channels=32, **_MLP), head=dict(predictor=dict(in_channels=16, **_MLP))),
    'moby': dict(
        neck=dict(in_channels=32, **_MLP), predictor=dict(in_channels=16, **_MLP), queue_len=24, feat_dim=16
    ),  # the fourth batch of 8 wraps around
    'dino': dict(neck=dict(in_channels=32, hid_channels=32, bottleneck_channels=16, out_channels=24)),
}


def make_data(folder: Path, count: int = 32) -> None:
    """``images/*.jpg``: noise, 40 pixels wide; ``cityscapes/``: scenes, laid out as Cityscapes."""
    sizes = dict(num_train=10, num_val=10, num_scenes_train=count, num_scenes_val=1)
    make_toy_scenes(folder, **sizes, tasks=('cityscapes',), workers=1, progress=False)
    folder = folder / 'images'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f'{i}.jpg')


def write_config(path: Path, method: str, ranks: int, data: Path) -> Path:
    """Write a toy config, made as small as it gets; it draws wherever a big one draws.

    Args:
        path: Where to.
        method: One of ``METHODS``.
        ranks: Processes; an epoch has as many iterations for any number.
        data: From :func:`make_data`.
    """
    cfg = _segmentation(data) if method == 'setr' else _pretraining(method, data)
    cfg.merge_from_dict(
        {
            'train_dataloader.batch_size': 32 // BATCHES // ranks,
            'train_dataloader.num_workers': 1 if method == 'mocov3' else 0,
            'train_dataloader.persistent_workers': method == 'mocov3',
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint': dict(by_epoch=False, interval=2, max_keep_ckpts=3),
            'default_hooks.stop_signal.interval': 1,
            'default_hooks.watchdog': dict(type='repre_mm.WatchdogHook', timeout=HANG_TIMEOUT),
            'default_hooks.chaos': dict(type='repre_mm.ChaosHook'),
            'custom_imports': dict(imports=['chaos.hook']),
        }
    )
    cfg.dump(path)
    return path


def _pretraining(method: str, data: Path) -> Config:
    cfg = Config.fromfile(ROOT / f'configs/toy/repre_{method}_vit-tiny_toy.py')

    def view(size: int) -> list[dict]:
        return [dict(type='RandomResizedCrop', scale=size, backend='pillow'), dict(type='RandomFlip', prob=0.5)]

    views = [view(32), view(32), view(16)] if method == 'dino' else [view(32), view(32)]
    views = dict(type='repre_mm.FastMultiView', num_views=[1] * len(views), transforms=views)
    cfg.train_dataloader.dataset.pipeline = [views, dict(type='PackInputs')]
    backbone = dict(
        arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
        img_size=32,
        patch_size=8,
        drop_path_rate=0.2,
    )
    cfg.merge_from_dict(
        {
            'model.algorithm': dict(backbone=backbone, **_HEADS[method]),
            'model.neck.out_channels': 16,
            'train_dataloader.dataset.root': str(data / 'images'),
            'train_cfg.max_epochs': EPOCHS,
            'default_hooks.knn': None,
        }
    )
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, end=EPOCHS, convert_to_iter_based=True)]
    return cfg


def _segmentation(data: Path) -> Config:
    cfg = Config.fromfile(ROOT / 'configs/toy/transfer/setr-naive_vit-tiny_toy.py')
    width = 32
    cfg.merge_from_dict(
        {
            'model.backbone': dict(
                arch=dict(embed_dims=width, num_layers=4, num_heads=2, feedforward_channels=64),
                drop_path_rate=0.2,
            ),
            'model.decode_head': dict(in_channels=width, channels=16),
            'model.auxiliary_head': dict(in_channels=width, channels=16),
            'train_dataloader.dataset.data_root': str(data / 'cityscapes'),
            'val_dataloader.dataset.data_root': str(data / 'cityscapes'),
            'train_cfg': dict(max_iters=ITERATIONS, val_interval=10 * ITERATIONS),
        }
    )
    cfg.param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, end=ITERATIONS, by_epoch=False)]
    return cfg
