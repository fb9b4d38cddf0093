# SETR-MLA with ViT-S/16: four levels of the encoder are fused from deep to shallow; each is decoded and upsampled by 4.
# The learning rate is a fifth of that of the other variants.
_base_ = './cityscapes.py'

width, channels = 384, 256
norm_cfg = dict(type='SyncBN')
model = dict(
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=width, num_layers=12, num_heads=6, feedforward_channels=4 * width),
        img_size=768,
        patch_size=16,
        out_type='featmap',
        out_indices=[2, 5, 8, 11],
        final_norm=False,
        interpolate_mode='bilinear',
    ),
    neck=dict(
        type='MLANeck', in_channels=[width] * 4, out_channels=channels, norm_cfg=norm_cfg, act_cfg=dict(type='ReLU')
    ),
    decode_head=dict(
        type='SETRMLAHead',
        in_channels=[channels] * 4,
        in_index=[0, 1, 2, 3],
        channels=512,
        mla_channels=128,
        num_classes=19,  # follows the data
        dropout_ratio=0,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=[
        dict(
            type='FCNHead',
            in_channels=channels,
            channels=channels,
            in_index=i,
            num_convs=0,
            kernel_size=1,
            concat_input=False,
            num_classes=19,
            dropout_ratio=0,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        )
        for i in range(4)
    ],
)
optim_wrapper = dict(optimizer=dict(lr=0.002))
