# MoBY, ViT-S/16, 300 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   bash tools/dist_train.sh configs/pretrain/moby/moby_vit-small-p16_8xb64-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 512 over 8 GPUs (8 x 64).
# Hyper-parameters: moby_deit_small.yaml of Transformer-SSL (arXiv 2105.04553); the encoder is DeiT-S, with 6 heads.
# Target: linear evaluation 72.8 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = '../../_base_/moby_imagenet.py'

model = dict(
    type='repre_mm.MoBY',
    queue_len=4096,
    temperature=0.2,
    base_momentum=0.01,
    backbone=dict(type='VisionTransformer', arch='deit-small', img_size=224, patch_size=16, drop_path_rate=0.2),
    neck=dict(in_channels=384, with_avg_pool=False, **_base_.mlp),
    predictor=_base_.predictor,
)
