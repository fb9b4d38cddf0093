# UperNet with Swin-T on Cityscapes, 768 x 768, 80,000 iterations.
#
#   bash tools/dist_train.sh \
#       configs/transfer/cityscapes/upernet_swin-tiny_8xb1-80k_cityscapes-768x768.py 8 \
#       --data CITYSCAPES --pretrained CHECKPOINT
#
# CHECKPOINT is the initialisation to compare: supervised (Swin-T of timm), contrastive
# (configs/pretrain/moby/ or dino/, Swin-T), or RePre (repre_*).
#
# Needs: Cityscapes as CITYSCAPES/{leftImg8bit,gtFine}/{train,val}/<city>/, with *_gtFine_labelTrainIds.png made by
# cityscapesscripts; 8 images over 8 GPUs (8 x 1); mmcv's compiled ops.
# Source: Swin (arXiv 2103.14030), App. A2.3 and its released UperNet configs: AdamW, 6e-5 for 16 images of 512 x 512,
# weight decay 0.01 except on norms and position tables, 1,500 iterations of warm-up, linear decay; drop path 0.3.
# Our choice: the data, crops and iterations of the SETR configs, at the same rate.
# Target: none in RePre. Not run here yet.
_base_ = '../_base_/cityscapes.py'

head = dict(
    num_classes=19,  # follows the data
    dropout_ratio=0.1,
    norm_cfg=dict(type='SyncBN'),
    align_corners=False,
)
model = dict(
    backbone=dict(
        type='mmpretrain.SwinTransformer',
        arch='tiny',
        img_size=224,
        drop_path_rate=0.3,
        out_indices=(0, 1, 2, 3),
        pad_small_map=True,
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[96, 192, 384, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
        **head,
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        **head,
    ),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=80000, by_epoch=False),
]
