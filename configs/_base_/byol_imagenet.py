# BYOL on ImageNet-1K with vision transformers. Views, loss and target are BYOL's (arXiv 2006.07733; momentum 0.99 at
# 300 epochs, configs/byol.py of its release); heads, optimizer and schedule are those of MoCo v3's ViT study (arXiv
# 2104.02057): AdamW, batch 4096, 40 epochs of warm-up (Sec. 5), BN in hidden layers only (App. A), lr 1e-4 and weight
# decay 0.03 (Fig. 6). mmpretrain and solo-learn have no BYOL with a ViT to compare with.
_base_ = ['./imagenet.py', './views/byol.py']

epochs, warmup_epochs = 300, 40
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))

mlp = dict(type='NonLinearNeck', hid_channels=4096, out_channels=256, num_layers=2, with_bias=True, with_last_bn=False)
projector = dict(mlp, with_avg_pool=False)
head = dict(
    type='LatentPredictHead',
    predictor=dict(mlp, in_channels=256, with_avg_pool=False),
    # 2 - 2 cos, as in the paper's Eq. 2, and never negative, which the uncertainty weighting needs.
    loss=dict(type='CosineSimilarityLoss', shift_factor=1.0),
)

# lr = 1e-4 * batch / 256, at a batch of 4096 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.6e-3, weight_decay=0.03, fused=True),
    # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are trained at a
    # rate that peaks at 0.02, without weight decay.
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 1.6e-3, decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
