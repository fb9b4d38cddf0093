# RePre on MoCo v3, toy scenes, tiny ViT.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/repre_mocov3_vit-tiny_toy.py
#
# Uncertainty weighting scales each loss by about 1 / loss from the first steps on. max_ratio=... bounds the ratio of
# the weights; loss_weighting=dict(type='repre_mm.FixedWeighting', recon=30) fixes them.
#
# Result, 22 epochs in bf16, seeds 0 to 2: linear probe 53.7 +- 2.4 %, kNN 41.2 +- 3.1 %; plain MoCo v3 46.6 +- 2.0 %,
# 35.1 +- 0.3 % (docs/benchmarks/2026-11-24-toy-weighting.md).
_base_ = './mocov3_vit-tiny_toy.py'

model = dict(
    _delete_=True,
    type='repre_mm.RePreAlgorithm',
    algorithm=_base_.model,
    neck=dict(type='repre_mm.RePreNeck', out_channels=64),
    loss_weighting=dict(type='repre_mm.UncertaintyWeighting'),
)
