# DINO, ViT-S/16 at 224 pixels, on one GPU of 80 GB: for 10,000 to 1,000,000 photographs without labels.
#
#   python tools/train.py configs/recipes/dino_vit-small_80gb.py --data DIR
#
# Needs: 59 GB of GPU memory, 29 h on an A100, 9 h on an H100, with 8 CPU cores or more for loading. Both are arithmetic
# (`--check`), tried on no GPU yet; what it reaches has not been measured. The number of epochs follows from the number
# of photographs, so that 100 million images are seen (26 % of what 300 epochs of ImageNet show); --epochs N and
# --batch-size N change it.
# Views, loss, head: DINO (arXiv 2104.14294). Our choice: a learning rate that follows the authors' by the square root
# of the batch, for fewer steps than theirs. Trained for other batches by --batch-size, it follows linearly.
_base_ = './dino_vit-small_24gb.py'

# The target network follows as fast as in the authors' 375,300 steps, measured by the length of the training.
recipe = dict(images_seen=100_000_000, steps=375_300)
batch_size = 384
lr = 0.002 * (batch_size / 1024) ** 0.5

train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(lr=lr), paramwise_cfg=dict(custom_keys=dict(loss_weighting=dict(lr_mult=0.02 / lr)))
)
auto_scale_lr = dict(base_batch_size=batch_size)
