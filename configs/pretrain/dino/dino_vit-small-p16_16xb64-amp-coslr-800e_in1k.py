# DINO, ViT-S/16, 800 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/dino/dino_vit-small-p16_16xb64-amp-coslr-800e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 16 GPUs (16 x 64).
# Hyper-parameters: args.txt of the released ViT-S/16 (arXiv 2104.14294), but in bf16 instead of fp32. Unlike the
# 300-epoch config: other crops, no gradient clipping, a higher final learning rate.
# Target: linear evaluation 77.0 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = './dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'

epochs = 800
global_crop = dict(_base_.global_crop, crop_ratio_range=(0.25, 1.0))
local_crop = dict(_base_.local_crop, crop_ratio_range=(0.05, 0.25))
views = [[global_crop, *_base_.global_1], [global_crop, *_base_.global_2], [local_crop, *_base_.local]]
pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[1, 1, 10], transforms=views),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))

# Warm-up, cosine, weight decay.
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], eta_min=1e-5, end=epochs),
    dict(_base_.param_scheduler[2], end=epochs),
]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(clip=None)
