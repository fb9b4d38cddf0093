# Swin-T from random weights, all labels of ImageNet-1K, 100 epochs: the supervised baseline of RePre's Table 2.
#
#   bash tools/dist_train.sh configs/finetune/swin-tiny-scratch_8xb128-coslr-100e_in1k.py 8 --data DIR
#
# Takes no --pretrained. Its checkpoint is the CHECKPOINT of
# configs/transfer/coco/mask-rcnn_swin-tiny_fpn_8xb2-1x_coco.py.
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 8 GPUs (8 x 128).
# Hyper-parameters: Swin's (microsoft/Swin-Transformer, config.py), with 100 epochs instead of 300; RePre does not say
# how it trained its 100-epoch encoder.
# Target: 41.6 / 38.4 box / mask mAP with Mask R-CNN, 1x (RePre, Table 2). Not reproduced here yet.
_base_ = './swin-tiny_8xb128-coslr-100e_in1k.py'

model = dict(
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ]
)
