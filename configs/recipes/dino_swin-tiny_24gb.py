# DINO, Swin-T at 224 pixels, on one GPU of 24 GB: for 10,000 to 1,000,000 photographs without labels.
#
#   python tools/train.py configs/recipes/dino_swin-tiny_24gb.py --data DIR
#
# Needs: 15 GB of GPU memory, 28 h on an RTX 3090, 12 h on an RTX 4090, with 8 CPU cores or more for loading. Both are
# arithmetic (`--check`), tried on no GPU yet; what it reaches has not been measured. The number of epochs follows from
# the number of photographs, so that 20 million images are seen (5 % of what 300 epochs of ImageNet show); --epochs N
# and --batch-size N change it.
# Views, loss, head: DINO (arXiv 2104.14294). Our choice: a learning rate that follows the authors' by the square root
# of the batch, for fewer steps than theirs. Trained for other batches by --batch-size, it follows linearly.
_base_ = '../pretrain/dino/dino_swin-tiny_16xb32-amp-coslr-100e_in1k.py'

# The target network follows as fast as in the authors' 250,200 steps, measured by the length of the training.
recipe = dict(images_seen=20_000_000, steps=250_200)
batch_size = 48
lr = 0.002 * (batch_size / 1024) ** 0.5

train_dataloader = dict(batch_size=batch_size, num_workers=8)
optim_wrapper = dict(
    optimizer=dict(lr=lr), paramwise_cfg=dict(custom_keys=dict(loss_weighting=dict(lr_mult=0.02 / lr)))
)
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(knn=dict(workers=8))
