# SimCLR on ImageNet-1K with vision transformers. Views and loss are SimCLR's (arXiv 2002.05709); head, optimizer and
# schedule are those of the ViT study that reports 69.0 and 73.9 % (MoCo v3, arXiv 2104.02057): AdamW, batch 4096, 40
# epochs of warm-up, a 3-layer projector with BN in all layers (Sec. 5), lr 2e-4 and weight decay 0.1 (Fig. 6).
# Our choice: SimCLR's temperature, 0.1, since neither paper gives one for ViT. mmpretrain and solo-learn have no SimCLR
# with a ViT to compare with.
_base_ = ['./imagenet.py', './views/simclr.py']

epochs, warmup_epochs = 300, 40
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))

projector = dict(
    type='NonLinearNeck',
    hid_channels=4096,
    out_channels=256,
    num_layers=3,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
)
head = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.1)

# lr = 2e-4 * batch / 256, at a batch of 4096 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=3.2e-3, weight_decay=0.1, fused=True),
    # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are trained at a
    # rate that peaks at 0.02, without weight decay.
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 3.2e-3, decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
