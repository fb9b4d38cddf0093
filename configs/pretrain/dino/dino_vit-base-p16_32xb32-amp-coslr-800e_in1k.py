# DINO, ViT-B/16, 800 epochs of ImageNet-1K: the baseline of the RePre config beside it.
#
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/dino/dino_vit-base-p16_32xb32-amp-coslr-800e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 32 GPUs (32 x 32).
# Hyper-parameters: args.txt of the released ViT-B/16 (arXiv 2104.14294), but with 800 epochs instead of 400, as in
# RePre, and bf16 instead of fp32.
# Target: linear evaluation 78.2 % top-1 (RePre, Table 1, "base"). Not reproduced here yet.
_base_ = './dino_vit-small-p16_16xb64-amp-coslr-800e_in1k.py'

train_dataloader = dict(batch_size=32)
model = dict(
    backbone=dict(arch='deit-base'),
    neck=dict(in_channels=768, norm_last_layer=True),
    head=dict(warmup_teacher_temp_epochs=50),
)
# lr = 7.5e-4 * batch / 256, at a batch of 1024 over all processes.
optim_wrapper = dict(
    optimizer=dict(lr=3e-3),
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 3e-3, decay_mult=0.0)}),
)
# Warm-up, cosine, weight decay.
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], eta_min=2e-6),
    _base_.param_scheduler[2],
]
default_hooks = dict(
    dino=dict(freeze_last_layer=3),
    clip=dict(_delete_=True, type='repre_mm.ClipGradPerParameterHook', max_norm=0.3),
)
