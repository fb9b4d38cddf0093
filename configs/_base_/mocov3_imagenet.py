# MoCo v3 on ImageNet-1K: heads, optimizer, schedule (arXiv 2104.02057, Sec. 5, and its released launch commands).
# Configs that inherit this add the settings of each encoder. Precision: bf16, with the predictor, the logits and their
# softmax in fp32; the authors use fp16 autocast with a loss scale.
_base_ = ['./imagenet.py', './views/mocov3.py']

epochs, warmup_epochs = 300, 40
temperature = 0.2
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
head = dict(
    type='repre_mm.MoCoV3Head',
    predictor=dict(projector, in_channels=256, num_layers=2),
    loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
    temperature=temperature,
)

# lr = 1.5e-4 * batch / 256, at a batch of 4096 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.4e-3, weight_decay=0.1, fused=True),
    # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are trained at a
    # rate that peaks at 0.02, without weight decay.
    paramwise_cfg=dict(custom_keys={'loss_weighting': dict(lr_mult=0.02 / 2.4e-3, decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
