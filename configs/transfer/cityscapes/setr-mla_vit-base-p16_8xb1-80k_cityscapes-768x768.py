# SETR-MLA with ViT-B/16 on Cityscapes: setr-mla_vit-small-p16_8xb1-80k_cityscapes-768x768.py with a wider encoder.
#
#   bash tools/dist_train.sh \
#       configs/transfer/cityscapes/setr-mla_vit-base-p16_8xb1-80k_cityscapes-768x768.py 8 \
#       --data CITYSCAPES --pretrained CHECKPOINT
#
# CHECKPOINT is the initialisation to compare: supervised (DeiT-B), contrastive (configs/pretrain/), or RePre (repre_*).
#
# Needs: Cityscapes as CITYSCAPES/{leftImg8bit,gtFine}/{train,val}/<city>/, with *_gtFine_labelTrainIds.png made by
# cityscapesscripts; 8 images over 8 GPUs (8 x 1); mmcv's compiled ops.
# Target: none in RePre. Not run here yet.
_base_ = './setr-mla_vit-small-p16_8xb1-80k_cityscapes-768x768.py'

width = 768
model = dict(
    backbone=dict(arch=dict(embed_dims=width, num_heads=12, feedforward_channels=4 * width)),
    neck=dict(in_channels=[width] * 4),
)
