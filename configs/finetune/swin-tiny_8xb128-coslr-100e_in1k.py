# Fine-tuning Swin-T, all labels of ImageNet-1K, 100 epochs.
#
#   bash tools/dist_train.sh configs/finetune/swin-tiny_8xb128-coslr-100e_in1k.py 8 --data DIR --pretrained CHECKPOINT
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, a batch of 1024 over 8 GPUs (8 x 128). For N other classes add
# --cfg-options model.head.num_classes=N data_preprocessor.num_classes=N
# Hyper-parameters: DeiT's as Swin uses them (arXiv 2103.14030, Appendix A2; microsoft/Swin-Transformer, config.py):
# 20 epochs of warm-up, gradients clipped at 5, no repeated augmentation. 100 epochs instead of its 300: our choice.
# Not measured here yet.
_base_ = './_base_/imagenet.py'

epochs, warmup_epochs = 100, 20
model = dict(
    type='ImageClassifier',
    backbone=dict(type='SwinTransformer', arch='tiny', img_size=_base_.image_size, drop_path_rate=0.2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=_base_.num_classes, in_channels=768, loss=_base_.smooth_loss),
    train_cfg=_base_.mixing,
)

train_dataloader = dict(sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
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
