# SETR-Naive with a tiny ViT on toy scenes.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/transfer/setr-naive_vit-tiny_toy.py --pretrained CHECKPOINT
#
# CHECKPOINT comes from configs/toy/repre_mocov3_vit-tiny_toy.py; without it the encoder starts from random weights.
# Needs: a CPU and a few minutes. Hyper-parameters: our choice, for 128 x 192 pixels and a few hundred steps.
_base_ = '../../transfer/_base_/cityscapes.py'

data_root = 'data/toy_scenes/cityscapes/'
crop_size = (128, 192)
scale = (192, 128)
iterations = 250
stuff = ['sky', 'wall', 'ground', 'clutter']
things = ['bird', 'boat', 'car', 'chair', 'cup', 'fish', 'house', 'lamp', 'teapot', 'truck']
metainfo = dict(classes=[*stuff, *things])

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='repre_mm.MaskFolder',
        image_suffix='_leftImg8bit',
        mask_suffix='_gtFine_labelTrainIds',
        data_root=data_root,
        metainfo=metainfo,
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr', skip_damaged=True),
            dict(type='repre_mm.LoadLabelMap', skip_damaged=True),
            dict(type='RandomResize', scale=scale, ratio_range=(0.8, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop_size),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        type='repre_mm.MaskFolder',
        image_suffix='_leftImg8bit',
        mask_suffix='_gtFine_labelTrainIds',
        data_root=data_root,
        metainfo=metainfo,
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr'),
            dict(type='Resize', scale=scale, keep_ratio=True),
            dict(type='repre_mm.LoadLabelMap'),
            dict(type='PackSegInputs'),
        ],
    ),
)
test_dataloader = val_dataloader

width = 128
head = dict(
    type='SETRUPHead',
    in_channels=width,
    channels=128,
    num_classes=len(metainfo['classes']),
    num_convs=1,
    up_scale=4,
    kernel_size=1,
    dropout_ratio=0,
    norm_cfg=dict(type='SyncBN'),
    align_corners=False,
)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=width, num_layers=4, num_heads=2, feedforward_channels=4 * width),
        img_size=crop_size,
        patch_size=8,
        out_type='featmap',
        out_indices=[1, 3],
        final_norm=False,
    ),
    decode_head=dict(**head, in_index=1, loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=dict(**head, in_index=0, loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
    test_cfg=dict(_delete_=True, mode='whole'),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(_delete_=True, norm_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=50, end=iterations, by_epoch=False),
]
train_cfg = dict(max_iters=iterations, val_interval=iterations)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=iterations))
