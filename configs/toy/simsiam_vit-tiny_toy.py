# SimSiam on toy scenes, tiny ViT: the baseline of repre_simsiam_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/simsiam_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Data, views, encoder, optimizer and schedule are those of mocov3_vit-tiny_toy.py; the
# loss, the heads and the predictor's constant learning rate are SimSiam's (arXiv 2011.10566), scaled down.
_base_ = './mocov3_vit-tiny_toy.py'

mlp = dict(type='NonLinearNeck', hid_channels=512, out_channels=512, with_avg_pool=False)
model = dict(
    _delete_=True,
    type='SimSiam',
    backbone=_base_.model.backbone,
    neck=dict(mlp, in_channels=128, num_layers=3, with_last_bn_affine=False),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(mlp, in_channels=512, hid_channels=128, with_last_bn=False, with_last_bias=True),
        loss=dict(type='CosineSimilarityLoss'),
    ),
)

lr = _base_.optim_wrapper.optimizer.lr
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
default_hooks = dict(predictor_lr=dict(type='SimSiamHook', fix_pred_lr=True, lr=lr, adjust_by_epoch=False))
