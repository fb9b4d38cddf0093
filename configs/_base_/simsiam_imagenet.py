# SimSiam on ImageNet-1K with vision transformers. Views, heads and the predictor's constant learning rate are SimSiam's
# (arXiv 2011.10566, Sec. 4 and App. A; main_simsiam.py). No ViT run of it is published; our choice: the optimizer,
# schedule and fixed patch projection of MoCo v3's command for ViT-S at a batch of 1024 (its CONFIG.md).
_base_ = ['./imagenet.py', './views/mocov2.py']

epochs, warmup_epochs = 300, 40
lr = 6e-4
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))

projector = dict(
    type='NonLinearNeck',
    hid_channels=2048,
    out_channels=2048,
    num_layers=3,
    with_last_bn_affine=False,
    with_avg_pool=False,
)
head = dict(
    type='LatentPredictHead',
    predictor=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=512,
        out_channels=2048,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    loss=dict(type='CosineSimilarityLoss'),
)

# lr = 1.5e-4 * batch / 256, at a batch of 1024 over all processes.
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.1, fused=True),
    paramwise_cfg=dict(
        custom_keys={
            'predictor': dict(fix_lr=True),
            # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are
            # trained at a rate that peaks at 0.02, without weight decay.
            'loss_weighting': dict(lr_mult=0.02 / lr, decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)

default_hooks = dict(predictor_lr=dict(type='SimSiamHook', fix_pred_lr=True, lr=lr, adjust_by_epoch=False))
