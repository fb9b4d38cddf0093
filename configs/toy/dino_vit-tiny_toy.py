# DINO on toy scenes, tiny ViT: the baseline of repre_dino_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/dino_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Data, views, encoder, optimizer and schedule are those of mocov3_vit-tiny_toy.py, plus
# four local crops of half the size; the loss and the head are DINO's (arXiv 2104.14294), scaled down, with a faster
# teacher, since there are only a thousand steps.
#
# Result, 8 epochs, one seed: linear probe 24.4 %, kNN 18.1 %, where random weights have 30.3 % and 17.1 %: this
# config is for trying the code, not for judging the method (docs/benchmarks/2026-12-01-toy-methods.md).
_base_ = './mocov3_vit-tiny_toy.py'

local_crop = dict(_base_.crop, scale=24, crop_ratio_range=(0.05, 0.3))
views = [_base_.view_1, _base_.view_2, [local_crop, *_base_.view_1[1:]]]
pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[1, 1, 4], transforms=views),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))

model = dict(
    _delete_=True,
    type='repre_mm.DINO',
    base_momentum=0.05,
    backbone=dict(_base_.model.backbone, drop_path_rate=0.1),
    neck=dict(type='repre_mm.DINONeck', in_channels=128, hid_channels=512, bottleneck_channels=64, out_channels=1024),
    head=dict(type='repre_mm.DINOHead', student_temp=0.1, teacher_temp=0.04),
)
default_hooks = dict(
    dino=dict(type='repre_mm.DINOHook', freeze_last_layer=1),
    clip=dict(type='repre_mm.ClipGradPerParameterHook', max_norm=3.0),
)
