# DINO, Swin-T, 100 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/dino/dino_swin-tiny_16xb32-amp-coslr-100e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 512 over 16 GPUs (16 x 32).
# Hyper-parameters: the Swin-T command of microsoft/esvit (arXiv 2106.09785) without its region-level task, that is,
# DINO; 100 epochs as in RePre's Table 2.
# Target: COCO, Mask R-CNN 1x, 42.2 box and 38.7 mask mAP (RePre, Table 2). Not reproduced here yet.
_base_ = '../../_base_/dino_imagenet.py'

epochs = 100
train_dataloader = dict(batch_size=32)
model = dict(
    type='repre_mm.DINO',
    base_momentum=0.004,
    # The last maps of local crops are 3 x 3, smaller than a window.
    backbone=dict(type='SwinTransformer', arch='tiny', img_size=224, drop_path_rate=0.1, pad_small_map=True),
    neck=dict(in_channels=768, norm_last_layer=False, **_base_.neck),
    head=_base_.head,
)
# lr = 5e-4 * batch / 256, at a batch of 512 over all processes.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 1e-3, decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=512)
# Warm-up, cosine, weight decay.
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=epochs),
    dict(_base_.param_scheduler[2], end=epochs),
]
train_cfg = dict(max_epochs=epochs)
