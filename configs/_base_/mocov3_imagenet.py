# MoCo v3 for vision transformers on ImageNet-1K: data, views, head, optimizer, schedule (arXiv 2104.02057, Sec. 5
# and its released launch commands). What differs between ViT-S and ViT-B is in the configs that use this.
_base_ = './default_runtime.py'

data_root = 'data/imagenet'
image_size = 224
epochs, warmup_epochs = 300, 40
temperature = 0.2
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# mmpretrain's colour transforms work on BGR; the preprocessor turns it into RGB.
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=mean, std=std, to_rgb=True)

crop = dict(type='RandomResizedCrop', scale=image_size, crop_ratio_range=(0.08, 1.0), backend='pillow')
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
flip = dict(type='RandomFlip', prob=0.5)
view_1 = [crop, *colour, dict(**blur, prob=1.0), flip]
view_2 = [crop, *colour, dict(**blur, prob=0.1), dict(type='Solarize', thr=128, prob=0.2), flip]

train_dataloader = dict(
    batch_size=512,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='repre_mm.ImageFolder',
        root=data_root,
        split='train',
        labels=False,
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr'),
            dict(type='MultiView', num_views=[1, 1], transforms=[view_1, view_2]),
            dict(type='PackInputs'),
        ],
    ),
)

projector = dict(
    type='NonLinearNeck',
    hid_channels=4096,
    out_channels=256,
    num_layers=3,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
)
head = dict(
    type='MoCoV3Head',
    predictor=dict(projector, in_channels=256, num_layers=2),
    loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
    temperature=temperature,
)

# lr = 1.5e-4 * batch / 256, at a batch of 4096 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.4e-3, weight_decay=0.1),
    # The log-variances of the uncertainty weighting: a learning rate of their own, no weight decay.
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=2.0, decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)

custom_hooks = [
    dict(type='repre_mm.ThroughputHook'),
    dict(type='repre_mm.ReconstructionHook', interval=10),
    dict(type='repre_mm.WeightingGuardHook'),
    dict(
        type='repre_mm.OnlineKNNHook',
        dataset=dict(type='repre_mm.ImageFolder', root=data_root),
        image_size=image_size,
        mean=mean,
        std=std,
        interval=25,
        workers=12,
    ),
]
