# MoBY, Swin-T, 100 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   bash tools/dist_train.sh configs/pretrain/moby/moby_swin-tiny_8xb64-amp-coslr-100e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 512 over 8 GPUs (8 x 64).
# Hyper-parameters: as for 300 epochs.
# Target: linear evaluation 70.9 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = './moby_swin-tiny_8xb64-amp-coslr-300e_in1k.py'

epochs = 100
# Warm-up and cosine.
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs)]
train_cfg = dict(max_epochs=epochs)
