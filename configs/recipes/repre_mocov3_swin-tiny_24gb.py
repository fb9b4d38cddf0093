# RePre on MoCo v3, Swin-T at 224 pixels, on one GPU of 24 GB: for 10,000 to 1,000,000 photographs without labels.
#
#   python tools/train.py configs/recipes/repre_mocov3_swin-tiny_24gb.py --data DIR
#
# Needs: as its baseline, mocov3_swin-tiny_24gb.py; the branch adds 4.2 % to the multiply-adds.
_base_ = './mocov3_swin-tiny_24gb.py'

model = dict(_delete_=True, type='repre_mm.RePreAlgorithm', algorithm=_base_.model)
