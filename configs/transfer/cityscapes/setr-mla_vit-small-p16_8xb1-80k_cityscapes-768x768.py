# SETR-MLA with ViT-S/16 on Cityscapes, 768 x 768, 80,000 iterations. Decoder: four levels fused from deep to shallow,
# each decoded and upsampled by 4.
#
#   bash tools/dist_train.sh \
#       configs/transfer/cityscapes/setr-mla_vit-small-p16_8xb1-80k_cityscapes-768x768.py 8 \
#       --data CITYSCAPES --pretrained CHECKPOINT
#
# CHECKPOINT is the initialisation to compare; nothing else changes:
#   supervised on ImageNet-1K   DeiT-S weights
#   contrastive                 configs/pretrain/dino/, ViT-S, 300 epochs
#   RePre                       the same with RePre (repre_*)
# The weights do not record the number of heads: ViT-S has 6 in DINO and DeiT, 12 in MoCo v3. For MoCo v3 add:
#   --cfg-options model.backbone.arch.num_heads=12
# Evaluate: python tools/test.py CONFIG WORK_DIR/iter_80000.pth --data CITYSCAPES
#
# Needs: Cityscapes as CITYSCAPES/{leftImg8bit,gtFine}/{train,val}/<city>/, with *_gtFine_labelTrainIds.png made by
# cityscapesscripts; 8 images over 8 GPUs (8 x 1); mmcv's compiled ops.
# Source: RePre (arXiv 2201.06857), Sec. 4.3, "as original SETR"; SETR (arXiv 2012.15840), Sec. 3.2 and 4.1, and its
# configs/SETR/SETR_MLA_DeiT_768x768_80k_cityscapes_bs_8.py: blocks 2, 5, 8, 11, and the learning rate 0.002.
# Target, mIoU / mAcc (RePre, Table 3, which does not say which variant of SETR): supervised 71.33 / 80.30, DINO 72.96 /
# 81.32, DINO with RePre 73.40 / 81.95. Not reproduced here yet.
_base_ = '../_base_/setr-mla_vit-small.py'
