# MoBY on toy scenes, tiny ViT: the baseline of repre_moby_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/moby_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Data, views, encoder, optimizer and schedule are those of mocov3_vit-tiny_toy.py; the
# loss, the queues and the heads are MoBY's (arXiv 2105.04553), scaled down, with a faster target network, since there
# are only a thousand steps.
#
# Result, one seed: linear probe 34.5 %, kNN 20.4 % after 8 epochs, 29.9 % and 16.2 % after 5 by --epochs 5; random
# weights have 30.3 % and 17.1 % (docs/benchmarks/2026-12-01-toy-methods.md).
_base_ = './mocov3_vit-tiny_toy.py'

mlp = dict(
    type='NonLinearNeck',
    hid_channels=512,
    out_channels=128,
    with_bias=True,
    with_last_bn=False,
    with_last_bias=True,
    with_avg_pool=False,
)
model = dict(
    _delete_=True,
    type='repre_mm.MoBY',
    queue_len=1024,
    feat_dim=128,
    temperature=_base_.temperature,
    base_momentum=0.05,
    backbone=dict(_base_.model.backbone, drop_path_rate=0.1),
    neck=dict(mlp, in_channels=128),
    predictor=dict(mlp, in_channels=128),
)
