# Cityscapes at 768 x 768 for 80,000 iterations: data, schedule and runtime; configs that inherit this add the model.
# SETR's recipe (arXiv 2012.15840, Sec. 4.1, and its released configs): SGD with a polynomial decay of power 0.9, ten
# times the learning rate for the heads, resizing by 0.5 to 2, random crops and flips, and sliding-window inference.
_base_ = '../../_base_/runtime_transfer.py'

default_scope = 'mmseg'

data_root = 'data/cityscapes/'
scale = (2049, 1025)
crop_size = (768, 768)
iterations = 80000

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr', skip_damaged=True),
            dict(type='repre_mm.LoadLabelMap', skip_damaged=True),
            dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        test_mode=True,
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr'),
            dict(type='Resize', scale=scale, keep_ratio=True),
            dict(type='repre_mm.LoadLabelMap'),  # after the resizing: scores are of the image's own size
            dict(type='PackSegInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=crop_size,
        # Pad to whole patches and to whole cells of every pyramid level.
        test_cfg=dict(size_divisor=32),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(512, 512)),
)

# The learning rate is for 8 images over all processes. For another batch: --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.0)}),
)
auto_scale_lr = dict(base_batch_size=8, enable=False)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=iterations, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=8000)

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=8000),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer', vis_backends=_base_.vis_backends)
