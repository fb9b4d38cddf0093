# ImageNet-1K for all full-size runs: files, normalisation, and the online kNN score.
_base_ = './runtime_pretrain.py'

data_root = 'data/imagenet'
image_size = 224
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# mmpretrain's colour transforms work on BGR; the preprocessor converts to RGB. Copies from the loader's pinned memory
# are asynchronous.
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=mean, std=std, to_rgb=True, non_blocking=True)

# Each method adds the batch size per GPU and the pipeline (its views).
train_dataloader = dict(
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='repre_mm.ImageFolder', root=data_root, split='train', labels=False),
)

default_hooks = dict(
    reconstruction=dict(interval=10),
    knn=dict(
        type='repre_mm.OnlineKNNHook',
        dataset=dict(type='repre_mm.ImageFolder', root=data_root),
        image_size=image_size,
        mean=mean,
        std=std,
        interval=25,
        workers=12,
    ),
)
