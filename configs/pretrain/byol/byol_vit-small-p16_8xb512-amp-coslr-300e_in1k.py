# BYOL, ViT-S/16, 300 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   bash tools/dist_train.sh configs/pretrain/byol/byol_vit-small-p16_8xb512-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 4096 over 8 GPUs (8 x 512).
# Hyper-parameters: configs/_base_/byol_imagenet.py says where each comes from.
# Target: linear evaluation 71.4 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = '../../_base_/byol_imagenet.py'

train_dataloader = dict(batch_size=512)
model = dict(
    type='BYOL',
    base_momentum=0.01,
    backbone=dict(type='MoCoV3ViT', arch='mocov3-small', img_size=224, patch_size=16, stop_grad_conv1=True),
    neck=dict(in_channels=384, **_base_.projector),
    head=_base_.head,
)
