# Mask R-CNN with a plain ViT-S/16 on COCO, 1x: attention in windows of 14 patches except in four blocks, and a simple
# feature pyramid from the last map (ViTDet).
#
#   bash tools/dist_train.sh configs/transfer/coco/mask-rcnn_vit-small-p16_sfp_8xb2-1x_coco.py 8 \
#       --data COCO --pretrained CHECKPOINT
#
# CHECKPOINT is the initialisation to compare: supervised (DeiT-S), contrastive (configs/pretrain/), or RePre (repre_*).
# The weights do not record the number of heads: ViT-S has 12 in MoCo v3, 6 in DINO and DeiT. For MoCo v3 add:
#   --cfg-options model.backbone.arch.num_heads=12
#
# Needs: COCO 2017 as COCO/{train2017,val2017,annotations}, 16 images over 8 GPUs (8 x 2),
# mmcv's compiled ops.
# Source: ViTDet (arXiv 2203.16527), Sec. 3 and App. A.2: windows, global blocks, pyramid, learning rate, weight decay
# 0.1, drop path 0.1, layer-wise decay of the learning rate 0.7. Our choice, to stay comparable with the Swin-T config:
# 1x at 800 instead of 100 epochs at 1024, and Mask R-CNN's standard heads.
# Target: none in RePre. Not run here yet.
_base_ = '../_base_/mask-rcnn_coco.py'

depth, width = 12, 384
layer_decay = 0.7

model = dict(
    backbone=dict(
        type='repre_mm.WindowedViT',
        arch=dict(embed_dims=width, num_layers=depth, num_heads=6, feedforward_channels=4 * width),
        img_size=224,
        patch_size=16,
        window_size=14,
        global_blocks=(2, 5, 8, 11),
        drop_path_rate=0.1,
        final_norm=False,
    ),
    neck=dict(type='repre_mm.SimpleFeaturePyramid', in_channels=width, out_channels=256),
)
# The longer key wins: norms keep the learning rate of their block, without weight decay.
rates = {f'backbone.layers.{i}.': layer_decay ** (depth - i) for i in range(depth)}
rates['backbone.patch_embed'] = rates['backbone.pos_embed'] = layer_decay ** (depth + 1)
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.1),
    paramwise_cfg=dict(
        custom_keys={
            **{key: dict(lr_mult=rate) for key, rate in rates.items()},
            **{f'{key}ln': dict(lr_mult=rate, decay_mult=0.0) for key, rate in rates.items() if 'layers' in key},
            'backbone.pos_embed': dict(lr_mult=rates['backbone.pos_embed'], decay_mult=0.0),
        }
    ),
)
