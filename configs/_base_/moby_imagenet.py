# MoBY on ImageNet-1K: heads, optimizer, schedule (arXiv 2105.04553, Sec. 3 and 4; moby_swin_tiny.yaml,
# moby_deit_small.yaml and config.py of Transformer-SSL). Precision: bf16, with the logits and their softmax in fp32;
# the authors use fp16 (apex, O1).
_base_ = ['./imagenet.py', './views/mocov3.py']

epochs, warmup_epochs = 300, 5
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=_base_.pipeline))

mlp = dict(
    type='NonLinearNeck',
    hid_channels=4096,
    out_channels=256,
    num_layers=2,
    with_bias=True,
    with_last_bn=False,
    with_last_bias=True,
)
predictor = dict(mlp, in_channels=256, with_avg_pool=False)

# lr = 1e-3 * batch / 512, at a batch of 512 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,  # no weight decay on biases and norms
        # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are trained
        # at a rate that peaks at 0.02, without weight decay.
        custom_keys={'loss_weighting': dict(lr_mult=0.02 / 1e-3, decay_mult=0.0)},
    ),
)
auto_scale_lr = dict(base_batch_size=512, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    # As in the authors' code, the cosine schedule already runs during warm-up.
    dict(type='CosineAnnealingLR', eta_min_ratio=5e-3, by_epoch=True, begin=0, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
