# RePre on DINO, Swin-T, 100 epochs of ImageNet-1K.
#
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/dino/repre_dino_swin-tiny_16xb32-amp-coslr-100e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 512 over 16 GPUs (16 x 32).
# Source: RePre (arXiv 2201.06857), Sec. 3: the last output of each of the four stages; two fusion layers; uncertainty
# weighting. The paper's full-width decoder: --cfg-options model.neck.out_channels=None
# model.neck.type=repre_mm.RePreNeck.
# Target: COCO, Mask R-CNN 1x, 43.1 box and 40.0 mask mAP (RePre, Table 2). Not reproduced here yet.
_base_ = './dino_swin-tiny_16xb32-amp-coslr-100e_in1k.py'

model = dict(_delete_=True, type='repre_mm.RePreAlgorithm', algorithm=_base_.model)
