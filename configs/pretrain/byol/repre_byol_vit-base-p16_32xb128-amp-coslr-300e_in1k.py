# RePre on BYOL, ViT-B/16, 300 epochs of ImageNet-1K.
#
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/byol/repre_byol_vit-base-p16_32xb128-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 4096 over 32 GPUs (32 x 128).
# Source: RePre (arXiv 2201.06857), Sec. 3: blocks 2, 5, 8, 11; two fusion layers; uncertainty weighting. The paper's
# full-width decoder: --cfg-options model.neck.out_channels=None model.neck.type=repre_mm.RePreNeck.
# Target: linear evaluation 74.8 % top-1 (RePre, Table 1). Not reproduced here yet.
_base_ = './byol_vit-base-p16_32xb128-amp-coslr-300e_in1k.py'

model = dict(_delete_=True, type='repre_mm.RePreAlgorithm', algorithm=_base_.model)
