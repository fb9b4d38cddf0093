# Fine-tuning ViT-S/16 with 1 % of the labels of ImageNet-1K, 60 epochs.
#
#   python tools/train.py configs/finetune/vit-small-p16_1xb256-coslr-60e_in1k-1p.py --data DIR --pretrained CHECKPOINT
#
# Needs: ImageNet-1K as DIR/{train,val}/<class>/*, one GPU. The subset is drawn from the training images by a fixed
# seed: 13 of the 1300 images of most classes. For N other classes add
# --cfg-options model.head.num_classes=N data_preprocessor.num_classes=N
# MoCo v3's ViT-S has 12 heads (the others 6) and fixed position embeddings; for its checkpoints add
# --cfg-options model.backbone.type=MoCoV3ViT model.backbone.arch=mocov3-small
# Hyper-parameters: our choice. A low learning rate for the encoder, ten times that for the new head; only crops and
# flips, since strong augmentation suits few images badly. Neither tuned nor measured here yet.
_base_ = './vit-small-p16_8xb128-coslr-150e_in1k.py'

epochs, warmup_epochs = 60, 5
train_dataloader = dict(
    batch_size=256,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='repre_mm.StratifiedSubset',
        share=0.01,
        seed=0,
        dataset=dict(
            type='repre_mm.ImageFolder',
            root=_base_.data_root,
            split='train',
            labels=True,
            pipeline=_base_.light_pipeline,
        ),
    ),
)
model = dict(head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss', loss_weight=1.0)), train_cfg=None)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.0)}),
)
auto_scale_lr = dict(base_batch_size=256)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=warmup_epochs),
    dict(_base_.param_scheduler[1], begin=warmup_epochs, end=epochs, eta_min=1e-6),
]
train_cfg = dict(max_epochs=epochs, val_interval=10)
