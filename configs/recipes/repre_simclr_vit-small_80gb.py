# RePre on SimCLR, ViT-S/16 at 224 pixels, on one GPU of 80 GB: for 10,000 to 1,000,000 photographs without labels.
#
#   python tools/train.py configs/recipes/repre_simclr_vit-small_80gb.py --data DIR
#
# Needs: as its baseline, simclr_vit-small_80gb.py; the branch adds 3.3 % to the multiply-adds.
_base_ = './simclr_vit-small_80gb.py'

model = dict(_delete_=True, type='repre_mm.RePreAlgorithm', algorithm=_base_.model)
