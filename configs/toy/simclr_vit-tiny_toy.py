# SimCLR on toy scenes, tiny ViT: the baseline of repre_simclr_vit-tiny_toy.py.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/simclr_vit-tiny_toy.py
#
# Needs: a CPU and a few minutes. Data, views, encoder, optimizer and schedule are those of mocov3_vit-tiny_toy.py; the
# loss and the projector are SimCLR's (arXiv 2002.05709), scaled down.
_base_ = './mocov3_vit-tiny_toy.py'

model = dict(
    _delete_=True,
    type='repre_mm.SimCLR',
    backbone=_base_.model.backbone,
    neck=dict(in_channels=128, num_layers=3, **_base_.mlp),
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=_base_.temperature),
)
