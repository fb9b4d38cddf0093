# SimCLR, ViT-S/16 at 224 pixels, on one GPU of 80 GB: for 10,000 to 1,000,000 photographs without labels.
#
#   python tools/train.py configs/recipes/simclr_vit-small_80gb.py --data DIR
#
# Needs: 63 GB of GPU memory, 14 h on an A100, 4 h on an H100, with 8 CPU cores or more for loading. Both are arithmetic
# (`--check`), tried on no GPU yet; what it reaches has not been measured. The number of epochs follows from the number
# of photographs, so that 100 million images are seen (26 % of what 300 epochs of ImageNet show); --epochs N and
# --batch-size N change it.
# Views, loss: SimCLR (arXiv 2002.05709); head: MoCo v3 (arXiv 2104.02057). Our choice: a learning rate that follows the
# authors' by the square root of the batch, for fewer steps than theirs. Trained for other batches by --batch-size, it
# follows linearly.
_base_ = './simclr_vit-small_24gb.py'

recipe = dict(images_seen=100_000_000)
batch_size = 768
lr = 0.0032 * (batch_size / 4096) ** 0.5

train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(lr=lr), paramwise_cfg=dict(custom_keys=dict(loss_weighting=dict(lr_mult=0.02 / lr)))
)
auto_scale_lr = dict(base_batch_size=batch_size)
