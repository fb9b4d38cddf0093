# MoCo v2 on toy scenes, tiny ViT: the baseline of repre_mocov2_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/mocov2_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Data, views, encoder, optimizer and schedule are those of mocov3_vit-tiny_toy.py; the
# loss and the queue are MoCo v2's (arXiv 2003.04297), scaled down, with a faster target network, since there are only a
# thousand steps.
#
# Result, 8 epochs, one seed: linear probe 27.6 %, kNN 18.6 %, where random weights have 30.3 % and 17.1 %: this
# config is for trying the code, not for judging the method (docs/benchmarks/2026-12-01-toy-methods.md).
_base_ = './mocov3_vit-tiny_toy.py'

model = dict(
    _delete_=True,
    type='repre_mm.MoCo',
    queue_len=1024,
    feat_dim=128,
    momentum=0.05,
    backbone=_base_.model.backbone,
    neck=dict(in_channels=128, num_layers=3, **_base_.mlp),
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=_base_.temperature),
)
