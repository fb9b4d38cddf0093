# MoCo v3, ViT-B/16, 600 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/mocov3/mocov3_vit-base-p16_32xb128-amp-coslr-600e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 4096 over 32 GPUs (32 x 128).
# Hyper-parameters: as for 300 epochs (arXiv 2104.02057, Sec. 5: settings found at 100 epochs are used for longer runs).
# Target: linear evaluation 76.7 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = './mocov3_vit-base-p16_32xb128-amp-coslr-300e_in1k.py'

epochs = 600
# Warm-up, then cosine.
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs)]
train_cfg = dict(max_epochs=epochs)
