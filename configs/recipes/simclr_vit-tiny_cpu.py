# SimCLR, ViT-Ti/16 at 96 pixels, on a CPU: for 1,000 to 100,000 photographs without labels.
#
#   python tools/train.py configs/recipes/simclr_vit-tiny_cpu.py --data DIR
#
# Needs: two cores, 4 GB of memory. The number of epochs follows from the number of photographs, so that 300,000 images
# are seen; --epochs N sets it. `--check --measure` says how long that takes on your machine.
# Measured: 9,469 photographs of ten classes, `--epochs 4 --batch-size 64`, two idle cores with AVX2: kNN 32.7 % with
# random weights, then 39.4, 42.5, 44.0 and 43.9 % after 6, 12, 18 and 24 minutes, the kNN included (one seed).
# Views and loss: SimCLR (arXiv 2002.05709). Head, with 1,024 instead of 4,096 hidden channels: MoCo v3 (arXiv
# 2104.02057). Our choice: the encoder, averaged tokens in place of a class token, a trained patch embedding, crops of
# at least a fifth of the image (not 8 %) and the learning rate, all for a few thousand steps; fp32 (--amp where the CPU
# has bf16 instructions).
_base_ = '../pretrain/simclr/simclr_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'

recipe = dict(images_seen=300_000)
image_size, batch_size, lr = 96, 128, 1e-3

multi_view = _base_.pipeline[0]
multi_view.transforms = [
    [dict(crop, scale=image_size, crop_ratio_range=(0.2, 1.0)), *others] for crop, *others in multi_view.transforms
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    pin_memory=False,
    dataset=dict(pipeline=[multi_view, dict(type='PackInputs')]),
)

model = dict(
    backbone=dict(arch='deit-tiny', img_size=image_size, patch_size=16, out_type='avg_featmap', stop_grad_conv1=False),
    neck=dict(in_channels=192, hid_channels=1024),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(custom_keys=dict(loss_weighting=dict(lr_mult=0.02 / lr))),
)
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=20), knn=dict(image_size=image_size, workers=2))
