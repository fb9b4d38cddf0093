# SETR-MLA with ViT-S/16 on Cityscapes, 768 x 768, 80,000 iterations. The decoder: four levels joined from deep to
# shallow, each decoded and enlarged fourfold.
#
#   bash tools/dist_train.sh \
#       configs/transfer/cityscapes/setr-mla_vit-small-p16_8xb1-80k_cityscapes-768x768.py 8 \
#       --data CITYSCAPES --pretrained CHECKPOINT
#
# where CHECKPOINT is the start to compare, and nothing else changes:
#   supervised on ImageNet-1K   DeiT-S weights
#   contrastive                 configs/pretrain/dino/, ViT-S, 300 epochs
#   RePre                       the same with RePre (repre_*)
# The number of heads is not in the weights: DINO's and DeiT's ViT-S has 6, MoCo v3's 12. For MoCo v3's:
#   --cfg-options model.backbone.arch.num_heads=12
# Score it: python tools/test.py CONFIG WORK_DIR/iter_80000.pth --data CITYSCAPES
#
# Needs: Cityscapes as CITYSCAPES/{leftImg8bit,gtFine}/{train,val}/<city>/, with *_gtFine_labelTrainIds.png made by
# cityscapesscripts; 8 images over 8 GPUs (8 x 1); mmcv's compiled ops.
# Source: RePre (arXiv 2201.06857), Sec. 4.3, "as original SETR"; SETR (arXiv 2012.15840), Sec. 3.2 and 4.1, and its
# configs/SETR/SETR_MLA_DeiT_768x768_80k_cityscapes_bs_8.py: blocks 2, 5, 8, 11, and the rate 0.002.
# Target, mIoU / mAcc (RePre, Table 3, which does not say which form of SETR): supervised 71.33 / 80.30, DINO
# 72.96 / 81.32, DINO with RePre 73.40 / 81.95. Not reproduced here yet.
_base_ = '../_base_/setr-mla_vit-small.py'
