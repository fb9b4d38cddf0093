# RePre on MoBY, toy scenes, tiny ViT.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/repre_moby_vit-tiny_toy.py
#
# Uncertainty weighting scales each loss by about 1 / loss from the first steps on. max_ratio=... bounds the ratio of
# the weights; loss_weighting=dict(type='repre_mm.FixedWeighting', recon=30) fixes them.
_base_ = './moby_vit-tiny_toy.py'

model = dict(
    _delete_=True,
    type='repre_mm.RePreAlgorithm',
    algorithm=_base_.model,
    neck=dict(type='repre_mm.RePreNeck', out_channels=64),
    loss_weighting=dict(type='repre_mm.UncertaintyWeighting'),
)
