# SETR-Naive and SETR-PUP with ViT-S/16: the encoder, the head on its last map, and the settings that all auxiliary
# heads share. Configs that inherit this set the upsampling of the heads and the blocks they read.
_base_ = './cityscapes.py'

width = 384
head = dict(
    type='SETRUPHead',
    in_channels=width,
    channels=256,
    num_classes=19,  # follows the data
    dropout_ratio=0,
    norm_cfg=dict(type='SyncBN'),
    align_corners=False,
)
auxiliary = dict(**head, up_scale=4, loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4))
model = dict(
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=width, num_layers=12, num_heads=6, feedforward_channels=4 * width),
        img_size=768,
        patch_size=16,
        out_type='featmap',
        final_norm=False,
        interpolate_mode='bilinear',
    ),
    decode_head=dict(**head, in_index=3, loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
)
