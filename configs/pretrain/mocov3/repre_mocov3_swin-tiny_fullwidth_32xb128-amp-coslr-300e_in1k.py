# RePre on MoCo v3, Swin-T, 300 epochs of ImageNet-1K, with the paper's full-width decoder.
#
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/pretrain/mocov3/repre_mocov3_swin-tiny_fullwidth_32xb128-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 4096 over 32 GPUs (32 x 128).
# Source: RePre (arXiv 2201.06857), Sec. 3.3: levels keep the encoder's widths C, a concatenation has 2C channels. The
# paper also says that the branch adds 4 % to the training cost; at full width it adds 26 % to the multiply-adds by our
# count. This config follows the text; the one without _fullwidth follows the cost.
# Target: linear evaluation 76.4 % top-1 (RePre, Table 1). Not reproduced here yet.
_base_ = './repre_mocov3_swin-tiny_32xb128-amp-coslr-300e_in1k.py'

model = dict(neck=dict(type='repre_mm.RePreNeck', out_channels=None))
