# RePre on MoCo v3, toy scenes, a tiny Swin: the encoder that mask-rcnn_swin-tiny_toy.py starts from.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/transfer/repre_mocov3_swin-tiny_toy.py
#
# Needs: a CPU and a few minutes. Hyper-parameters: those of the toy ViT; 64 pixels, since the deepest stage has a
# stride of 32.
_base_ = '../repre_mocov3_vit-tiny_toy.py'

image_size = 64
epochs = 6
crop = dict(_base_.crop, scale=image_size)
views = [[crop, *_base_.view_1[1:]], [crop, *_base_.view_2[1:]]]
pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[1, 1], transforms=views),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))

model = dict(
    algorithm=dict(
        backbone=dict(
            _delete_=True,
            type='SwinTransformer',
            arch=dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
            img_size=image_size,
            window_size=4,
            drop_path_rate=0.0,
            out_indices=(3,),
            pad_small_map=True,
        ),
        neck=dict(in_channels=256, with_avg_pool=True),
    ),
    neck=dict(out_channels=32),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(reconstruction=dict(interval=2), knn=None)
