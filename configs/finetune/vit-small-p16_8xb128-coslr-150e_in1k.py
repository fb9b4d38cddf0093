# Fine-tuning ViT-S/16, all labels of ImageNet-1K, 150 epochs.
#
#   bash tools/dist_train.sh configs/finetune/vit-small-p16_8xb128-coslr-150e_in1k.py 8 \
#       --data DIR --pretrained CHECKPOINT
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 8 GPUs (8 x 128). For N other classes add
# --cfg-options model.head.num_classes=N data_preprocessor.num_classes=N
# MoCo v3's ViT-S has 12 heads (the others 6) and fixed position embeddings; for its checkpoints add
# --cfg-options model.backbone.type=MoCoV3ViT model.backbone.arch=mocov3-small
# Hyper-parameters: DeiT's, without its moving average of the weights; 150 epochs as in MoCo v3 (arXiv 2104.02057, Sec.
# 5). To clip gradients, which DeiT does not:
# --cfg-options optim_wrapper.clip_grad.max_norm=5
# Not measured here yet.
_base_ = './_base_/imagenet.py'

epochs, warmup_epochs = 150, 5
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer', arch='deit-small', img_size=_base_.image_size, patch_size=16, drop_path_rate=0.1
    ),
    head=dict(
        type='VisionTransformerClsHead', num_classes=_base_.num_classes, in_channels=384, loss=_base_.smooth_loss
    ),
    train_cfg=_base_.mixing,
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=warmup_epochs,
        end=epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
