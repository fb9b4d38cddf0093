# DINO, ViT-S/16, 300 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 16 GPUs (16 x 64).
# Hyper-parameters: "full command" of the README of facebookresearch/dino (arXiv 2104.14294), but in bf16 instead of
# fp16.
# Target: linear evaluation 75.9 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = '../../_base_/dino_imagenet.py'

train_dataloader = dict(batch_size=64)
model = dict(
    type='repre_mm.DINO',
    base_momentum=0.004,
    backbone=dict(type='VisionTransformer', arch='deit-small', img_size=224, patch_size=16, drop_path_rate=0.1),
    neck=dict(in_channels=384, norm_last_layer=False, **_base_.neck),
    head=_base_.head,
)
