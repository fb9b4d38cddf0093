# Fine-tuning a whole classifier on ImageNet-1K: data, augmentation and optimizer of DeiT (arXiv 2012.12877, Table 9;
# facebookresearch/deit, main.py), at a batch of 1024: each image is repeated three times with a new augmentation each
# time, and gradients are not clipped. Configs that inherit this add the settings of each encoder.
_base_ = '../../_base_/runtime_finetune.py'

data_root = 'data/imagenet'
image_size, num_classes = 224, 1000
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# mmpretrain's colour transforms work on BGR; the preprocessor converts to RGB.
data_preprocessor = dict(type='ClsDataPreprocessor', num_classes=num_classes, mean=mean, std=std, to_rgb=True)
bgr_mean, bgr_std = mean[::-1], std[::-1]

load = dict(type='repre_mm.LoadImage', channel_order='bgr')
crop_and_flip = [
    dict(type='RandomResizedCrop', scale=image_size, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
]
rand_augment = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
    hparams=dict(pad_val=[round(value) for value in bgr_mean], interpolation='bicubic'),
)
erasing = dict(
    type='RandomErasing',
    erase_prob=0.25,
    mode='rand',
    min_area_ratio=0.02,
    max_area_ratio=1 / 3,
    fill_color=bgr_mean,
    fill_std=bgr_std,
)
light_pipeline = [load, *crop_and_flip, dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=128,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='RepeatAugSampler', shuffle=True, num_repeats=3),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='repre_mm.ImageFolder',
        root=data_root,
        split='train',
        labels=True,
        pipeline=[load, *crop_and_flip, rand_augment, erasing, dict(type='PackInputs')],
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=12,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='repre_mm.ImageFolder',
        root=data_root,
        split='val',
        labels=True,
        test_mode=True,
        pipeline=[
            load,
            dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=image_size),
            dict(type='PackInputs'),
        ],
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = dict()

mixing = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
smooth_loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')

# lr = 5e-4 * batch / 512, at a batch of 1024 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={name: dict(decay_mult=0.0) for name in ('cls_token', 'pos_embed', 'relative_position_bias_table')},
    ),
)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
