# Fine-tuning Swin-T with 10 % of the labels of ImageNet-1K, 30 epochs.
#
#   python tools/train.py configs/finetune/swin-tiny_1xb256-coslr-30e_in1k-10p.py --data DIR --pretrained CHECKPOINT
#
# Needs and hyper-parameters: as for 1 %, with half the epochs.
_base_ = './swin-tiny_1xb256-coslr-60e_in1k-1p.py'

epochs = 30
train_dataloader = dict(dataset=dict(share=0.1))
# Warm-up and cosine.
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs)]
train_cfg = dict(max_epochs=epochs)
