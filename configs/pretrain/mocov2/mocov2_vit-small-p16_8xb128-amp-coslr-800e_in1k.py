# MoCo v2, ViT-S/16, 800 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   bash tools/dist_train.sh configs/pretrain/mocov2/mocov2_vit-small-p16_8xb128-amp-coslr-800e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 8 GPUs (8 x 128).
# Hyper-parameters: as for 300 epochs.
# Target: linear evaluation 72.7 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = './mocov2_vit-small-p16_8xb128-amp-coslr-300e_in1k.py'

epochs = 800
# Warm-up, then cosine.
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs)]
train_cfg = dict(max_epochs=epochs)
