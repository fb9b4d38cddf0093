# MoCo v3 on toy scenes, tiny ViT: the baseline of repre_mocov3_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/mocov3_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Hyper-parameters: MoCo v3 (arXiv 2104.02057), scaled down and changed for a thousand
# steps instead of a hundred thousand: averaged tokens instead of a class token, a trained patch embedding, a faster
# target network, a lower temperature; and stronger colour jitter, since the colours of toy objects carry no
# information.
_base_ = '../_base_/runtime_pretrain.py'

data_root = 'data/toy_scenes/cls'
image_size = 48
batch_size = 64
epochs = 22
temperature = 0.1
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# mmpretrain's colour transforms work on BGR; the preprocessor converts to RGB.
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=mean, std=std, to_rgb=True)

crop = dict(type='RandomResizedCrop', scale=image_size, crop_ratio_range=(0.3, 1.0), backend='pillow')
jitter = dict(type='ColorJitter', brightness=0.6, contrast=0.6, saturation=0.6, hue=0.5, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.9),
    dict(type='RandomGrayscale', prob=0.5, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
flip = dict(type='RandomFlip', prob=0.5)
view_1 = [crop, *colour, flip]
view_2 = [crop, *colour, dict(type='Solarize', thr=128, prob=0.2), flip]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='repre_mm.ImageFolder',
        root=data_root,
        split='train',
        labels=False,
        pipeline=[
            dict(type='repre_mm.FastMultiView', num_views=[1, 1], transforms=[view_1, view_2]),
            dict(type='PackInputs'),
        ],
    ),
)

mlp = dict(
    type='NonLinearNeck',
    hid_channels=512,
    out_channels=128,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
)
model = dict(
    type='MoCoV3',
    base_momentum=0.3,
    backbone=dict(
        type='MoCoV3ViT',
        arch=dict(embed_dims=128, num_layers=4, num_heads=2, feedforward_channels=512),
        img_size=image_size,
        patch_size=8,
        out_type='avg_featmap',
    ),
    neck=dict(in_channels=128, num_layers=3, **mlp),
    head=dict(
        type='repre_mm.MoCoV3Head',
        predictor=dict(in_channels=128, num_layers=2, **mlp),
        loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
        temperature=temperature,
    ),
)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.1, fused=True),
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 2e-3, decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)

default_hooks = dict(
    logger=dict(interval=10),
    reconstruction=dict(interval=10),
    knn=dict(
        type='repre_mm.OnlineKNNHook',
        dataset=dict(type='repre_mm.ImageFolder', root=data_root),
        image_size=image_size,
        mean=mean,
        std=std,
        interval=10,
    ),
)
