# MoCo v2, ViT-S/16, 300 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   bash tools/dist_train.sh configs/pretrain/mocov2/mocov2_vit-small-p16_8xb128-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 8 GPUs (8 x 128).
# Hyper-parameters: configs/_base_/mocov2_imagenet.py says where each comes from. The encoder has 6 heads, as in the run
# that it follows (DeiT-S).
# Target: linear evaluation 71.6 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = '../../_base_/mocov2_imagenet.py'

train_dataloader = dict(batch_size=128)
model = dict(
    type='repre_mm.MoCo',
    queue_len=65536,
    feat_dim=256,
    momentum=0.001,
    backbone=dict(type='MoCoV3ViT', arch='deit-small', img_size=224, patch_size=16, stop_grad_conv1=True),
    neck=dict(in_channels=384, **_base_.projector),
    head=_base_.head,
)
