# BYOL on toy scenes, tiny ViT: the baseline of repre_byol_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/byol_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Data, views, encoder, optimizer and schedule are those of mocov3_vit-tiny_toy.py; the
# loss and the heads are BYOL's (arXiv 2006.07733), scaled down, with a faster target network, since there are only a
# thousand steps.
_base_ = './mocov3_vit-tiny_toy.py'

mlp = dict(type='NonLinearNeck', hid_channels=512, out_channels=128, with_bias=True, with_last_bn=False)
model = dict(
    _delete_=True,
    type='BYOL',
    base_momentum=0.05,
    backbone=_base_.model.backbone,
    neck=dict(mlp, in_channels=128, with_avg_pool=False),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(mlp, in_channels=128, with_avg_pool=False),
        # 2 - 2 cos, as in the paper's Eq. 2, and never negative, which the uncertainty weighting needs.
        loss=dict(type='CosineSimilarityLoss', shift_factor=1.0),
    ),
)
