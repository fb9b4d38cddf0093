# RePre on MoBY, Swin-T, 300 epochs of ImageNet-1K.
#
#   bash tools/dist_train.sh configs/pretrain/moby/repre_moby_swin-tiny_8xb64-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 512 over 8 GPUs (8 x 64).
# Source: RePre (arXiv 2201.06857), Sec. 3: the last output of each of the four stages; two fusion layers; uncertainty
# weighting. The paper's full-width decoder: --cfg-options model.neck.out_channels=None
# model.neck.type=repre_mm.RePreNeck.
# Target: linear evaluation 76.1 % top-1 (RePre, Table 1). Not reproduced here yet.
_base_ = './moby_swin-tiny_8xb64-amp-coslr-300e_in1k.py'

model = dict(_delete_=True, type='repre_mm.RePreAlgorithm', algorithm=_base_.model)
