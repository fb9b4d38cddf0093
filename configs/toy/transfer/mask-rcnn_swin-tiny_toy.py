# Mask R-CNN + FPN with a tiny Swin on toy scenes.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/transfer/mask-rcnn_swin-tiny_toy.py --pretrained CHECKPOINT
#
# CHECKPOINT comes from repre_mocov3_swin-tiny_toy.py; without it the encoder starts from random weights. The classes
# come from the annotations. Needs: a CPU and a few minutes. Hyper-parameters: our choice, for 128 x 192 pixels and a
# few hundred steps.
_base_ = '../../transfer/_base_/mask-rcnn_coco.py'

data_root = 'data/toy_scenes/coco/'
scale = (192, 128)
epochs = 5
load_annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        data_root=data_root,
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr', skip_damaged=True),
            load_annotations,
            dict(type='Resize', scale=scale, keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr'),
            dict(type='Resize', scale=scale, keep_ratio=True),
            load_annotations,
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

width = 64
model = dict(
    backbone=dict(
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
        img_size=64,
        window_size=4,
        drop_path_rate=0.0,
        out_indices=(0, 1, 2, 3),
        pad_small_map=True,
    ),
    neck=dict(type='FPN', in_channels=[32, 64, 128, 256], out_channels=width, num_outs=5),
    rpn_head=dict(in_channels=width, feat_channels=width, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(in_channels=width, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(in_channels=width, conv_out_channels=width, num_convs=2),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200), rcnn=dict(max_per_img=20)),
)

optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=epochs))
