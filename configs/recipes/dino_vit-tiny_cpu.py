# DINO, ViT-Ti/16 at 96 pixels, on a CPU: for 1,000 to 100,000 photographs without labels.
#
#   python tools/train.py configs/recipes/dino_vit-tiny_cpu.py --data DIR
#
# Needs: two cores, 4 GB of memory. The number of epochs follows from the number of photographs, so that 300,000 images
# are seen; --epochs N sets it. `--check --measure` says how long that takes on your machine.
# Views, with four local crops of 48 pixels, and loss: DINO (arXiv 2104.14294). Head: 8,192 outputs and 1,024 hidden
# channels. Our choice: the encoder, averaged tokens in place of a class token and the learning rate, all for a few
# thousand steps; fp32 (--amp where the CPU has bf16 instructions).
_base_ = '../pretrain/dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'

# The target network follows as fast as in the authors' 375,300 steps, measured by the length of the training.
recipe = dict(images_seen=300_000, steps=375_300)
image_size, local_size, batch_size, lr = 96, 48, 64, 5e-4

multi_view = _base_.pipeline[0]
multi_view.num_views = [1, 1, 4]
sizes = [image_size, image_size, local_size]
multi_view.transforms = [
    [dict(crop, scale=size), *others] for size, (crop, *others) in zip(sizes, multi_view.transforms, strict=True)
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    pin_memory=False,
    dataset=dict(pipeline=[multi_view, dict(type='PackInputs')]),
)

model = dict(
    backbone=dict(arch='deit-tiny', img_size=image_size, patch_size=16, out_type='avg_featmap'),
    neck=dict(in_channels=192, hid_channels=1024, out_channels=8192),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(custom_keys=dict(loss_weighting=dict(lr_mult=0.02 / lr))),
)
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=20), knn=dict(image_size=image_size, workers=2))
