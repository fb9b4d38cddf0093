# BYOL, ViT-B/16, 300 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/byol/byol_vit-base-p16_32xb128-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 4096 over 32 GPUs (32 x 128).
# Hyper-parameters: configs/_base_/byol_imagenet.py says where each comes from.
# Target: linear evaluation 73.9 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = '../../_base_/byol_imagenet.py'

train_dataloader = dict(batch_size=128)
model = dict(
    type='BYOL',
    base_momentum=0.01,
    backbone=dict(type='MoCoV3ViT', arch='base', img_size=224, patch_size=16, stop_grad_conv1=True),
    neck=dict(in_channels=768, **_base_.projector),
    head=_base_.head,
)
