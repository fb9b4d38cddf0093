# RePre on DINO, ViT-S/16, 800 epochs of ImageNet-1K.
#
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/dino/repre_dino_vit-small-p16_16xb64-amp-coslr-800e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 16 GPUs (16 x 64).
# Source: RePre (arXiv 2201.06857), Sec. 3: blocks 2, 5, 8, 11; two fusion layers; uncertainty weighting. The paper's
# full-width decoder: --cfg-options model.neck.out_channels=None model.neck.type=repre_mm.RePreNeck.
# Target: linear evaluation 77.9 % top-1 (RePre, Table 1). Not reproduced here yet.
_base_ = './dino_vit-small-p16_16xb64-amp-coslr-800e_in1k.py'

model = dict(_delete_=True, type='repre_mm.RePreAlgorithm', algorithm=_base_.model)
