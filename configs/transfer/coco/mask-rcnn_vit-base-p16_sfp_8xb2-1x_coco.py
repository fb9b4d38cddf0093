# Mask R-CNN with a plain ViT-B/16 on COCO, 1x: mask-rcnn_vit-small-p16_sfp_8xb2-1x_coco.py with a wider encoder.
#
#   bash tools/dist_train.sh configs/transfer/coco/mask-rcnn_vit-base-p16_sfp_8xb2-1x_coco.py 8 \
#       --data COCO --pretrained CHECKPOINT
#
# CHECKPOINT is the initialisation to compare: supervised (DeiT-B), contrastive (configs/pretrain/), or RePre (repre_*).
#
# Needs: COCO 2017 as COCO/{train2017,val2017,annotations}, 16 images over 8 GPUs (8 x 2),
# mmcv's compiled ops.
# Target: none in RePre. Not run here yet.
_base_ = './mask-rcnn_vit-small-p16_sfp_8xb2-1x_coco.py'

width = 768
model = dict(
    backbone=dict(arch=dict(embed_dims=width, num_heads=12, feedforward_channels=4 * width)),
    neck=dict(in_channels=width),
)
