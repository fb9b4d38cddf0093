# SETR-PUP with ViT-B/16 on Cityscapes; as setr-pup_vit-small-p16_8xb1-80k_cityscapes-768x768.py, wider.
#
#   bash tools/dist_train.sh \
#       configs/transfer/cityscapes/setr-pup_vit-base-p16_8xb1-80k_cityscapes-768x768.py 8 \
#       --data CITYSCAPES --pretrained CHECKPOINT
#
# where CHECKPOINT is the start to compare: supervised (DeiT-B), contrastive (configs/pretrain/), or RePre (repre_*).
#
# Target: none in RePre. Not run here yet.
_base_ = './setr-pup_vit-small-p16_8xb1-80k_cityscapes-768x768.py'

width = 768
head = dict(
    type='SETRUPHead',
    in_channels=width,
    channels=256,
    num_classes=19,  # follows the data
    dropout_ratio=0,
    norm_cfg=dict(type='SyncBN'),
    align_corners=False,
)
model = dict(
    backbone=dict(arch=dict(embed_dims=width, num_heads=12, feedforward_channels=4 * width)),
    decode_head=dict(in_channels=width),
    auxiliary_head=[
        dict(
            **head,
            in_index=i,
            num_convs=2,
            up_scale=4,
            kernel_size=3,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        )
        for i in range(3)
    ],
)
