# DINO on ImageNet-1K: head, loss, optimizer, schedules (arXiv 2104.14294, Sec. 3.2; defaults of main_dino.py and the
# "boosted" command of its README). The configs of other encoders and longer runs override parts of it. Precision: bf16,
# with the last layer and both softmaxes in fp32.
_base_ = ['./imagenet.py', './views/dino.py']

epochs, warmup_epochs = 300, 10
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))

neck = dict(type='repre_mm.DINONeck', hid_channels=2048, bottleneck_channels=256, out_channels=65536)
head = dict(
    type='repre_mm.DINOHead',
    student_temp=0.1,
    warmup_teacher_temp=0.04,
    teacher_temp=0.07,
    warmup_teacher_temp_epochs=30,
)

# lr = 5e-4 * batch / 256, at a batch of 1024 over all processes. For another batch:
# --cfg-options auto_scale_lr.enable=True
optim_wrapper = dict(
    type='repre_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.04, fused=True),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,  # no weight decay on biases and norms
        # RePre: the log-variances of the losses start at their minimum, where each weight is 1 / loss, and are trained
        # at a rate that peaks at 0.02, without weight decay.
        custom_keys={'loss_weighting': dict(lr_mult=0.02 / 2e-3, decay_mult=0.0)},
    ),
)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=warmup_epochs,
        end=epochs,
        convert_to_iter_based=True,
    ),
    # Weight decay increases; parameters without it stay without it.
    dict(
        type='CosineAnnealingWeightDecay',
        eta_min=0.4,
        by_epoch=True,
        begin=0,
        end=epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)

default_hooks = dict(
    dino=dict(type='repre_mm.DINOHook', freeze_last_layer=1),
    clip=dict(type='repre_mm.ClipGradPerParameterHook', max_norm=3.0),
)
