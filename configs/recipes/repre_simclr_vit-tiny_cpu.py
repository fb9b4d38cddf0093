# RePre on SimCLR, ViT-Ti/16 at 96 pixels, on a CPU: for 1,000 to 100,000 photographs without labels.
#
#   python tools/train.py configs/recipes/repre_simclr_vit-tiny_cpu.py --data DIR
#
# Needs: as its baseline, simclr_vit-tiny_cpu.py.
_base_ = './simclr_vit-tiny_cpu.py'

model = dict(
    _delete_=True,
    type='repre_mm.RePreAlgorithm',
    algorithm=_base_.model,
    neck=dict(type='repre_mm.RePreNeck', out_channels=64),
)
