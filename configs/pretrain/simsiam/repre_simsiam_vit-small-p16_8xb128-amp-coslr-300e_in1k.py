# RePre on SimSiam, ViT-S/16, 300 epochs of ImageNet-1K.
#
#   bash tools/dist_train.sh \
#       configs/pretrain/simsiam/repre_simsiam_vit-small-p16_8xb128-amp-coslr-300e_in1k.py 8 --data DIR
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 8 GPUs (8 x 128).
# Source: RePre (arXiv 2201.06857), Sec. 3: blocks 2, 5, 8, 11; two fusion layers; uncertainty weighting. The paper's
# full-width decoder: --cfg-options model.neck.out_channels=None model.neck.type=repre_mm.RePreNeck.
# Target: none; the paper has no number for SimSiam.
_base_ = './simsiam_vit-small-p16_8xb128-amp-coslr-300e_in1k.py'

model = dict(
    _delete_=True,
    type='repre_mm.RePreAlgorithm',
    algorithm=_base_.model,
    # The negative cosine is at least -1; the weighting needs a loss that is never negative.
    loss_weighting=dict(type='repre_mm.UncertaintyWeighting', contrast_shift=1.0),
)
