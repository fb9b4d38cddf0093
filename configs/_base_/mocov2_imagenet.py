# MoCo v2 on ImageNet-1K with vision transformers. Views, queue, temperature and momentum are MoCo v2's (arXiv
# 2003.04297 and main_moco.py); the head is that of the ViT-S run which reports 71.6 % (DINO, arXiv 2104.14294, App. B):
# 3 layers with BN, 256 channels. That run's other settings are not published; our choice: 2048 hidden channels, and the
# optimizer, schedule and fixed patch projection of MoCo v3's command for ViT-S at a batch of 1024 (its CONFIG.md).
_base_ = ['./imagenet.py', './views/mocov2.py']

epochs, warmup_epochs = 300, 40
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))

projector = dict(
    type='NonLinearNeck', hid_channels=2048, out_channels=256, num_layers=3, with_bias=False, with_avg_pool=False
)
head = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2)

# lr = 1.5e-4 * batch / 256, at a batch of 1024 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-4, weight_decay=0.1, fused=True),
    # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are trained at a
    # rate that peaks at 0.02, without weight decay.
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 6e-4, decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
