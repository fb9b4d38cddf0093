# MoCo v3, Swin-T, 300 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/mocov3/mocov3_swin-tiny_32xb128-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 4096 over 32 GPUs (32 x 128).
# Hyper-parameters: MoCo v3's for ViT (arXiv 2104.02057); no Swin run of it is published. Our choice: no stochastic
# depth, as with ViT, and a trained patch embedding, which Swin normalises.
# Target: linear evaluation 75.4 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = '../../_base_/mocov3_imagenet.py'

train_dataloader = dict(batch_size=128)
model = dict(
    type='MoCoV3',
    base_momentum=0.01,
    backbone=dict(type='SwinTransformer', arch='tiny', img_size=224, drop_path_rate=0.0),
    neck=dict(_base_.projector, in_channels=768, with_avg_pool=True),
    head=_base_.head,
)
