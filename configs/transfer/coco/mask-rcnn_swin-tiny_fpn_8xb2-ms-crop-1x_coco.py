# Mask R-CNN with Swin-T and FPN on COCO, 1x (12 epochs), with the shorter side drawn from 480 to 800 and half of the
# images cropped first.
#
#   bash tools/dist_train.sh configs/transfer/coco/mask-rcnn_swin-tiny_fpn_8xb2-ms-crop-1x_coco.py 8 \
#       --data COCO --pretrained CHECKPOINT
#
# CHECKPOINT is the initialisation to compare, see mask-rcnn_swin-tiny_fpn_8xb2-1x_coco.py.
#
# Needs: COCO 2017 as COCO/{train2017,val2017,annotations}, 16 images over 8 GPUs (8 x 2), mmcv's compiled ops.
# Source: SwinTransformer/Swin-Transformer-Object-Detection,
# configs/swin/mask_rcnn_swin_tiny_patch4_window7_mstrain_480-800_adamw_1x_coco.py: scales, crops and drop path; its
# warm-up takes 500 iterations. It trains in fp16; add --amp here for bf16.
# Target, box / mask mAP (RePre, Table 2): supervised 43.7 / 39.8, MoBY 43.6 / 39.6 -> 44.8 / 40.3 with RePre (300
# epochs each). The first two are rows of MoBY's table, made with the source above; RePre's text states one scale, 800,
# for all its numbers.
# Not reproduced here yet.
_base_ = './mask-rcnn_swin-tiny_fpn_8xb2-1x_coco.py'

longest = 1333
scales = [(side, longest) for side in range(480, 801, 32)]
resize = dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)
resize_and_crop = [
    dict(type='RandomChoiceResize', scales=[(side, longest) for side in (400, 500, 600)], keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True),
    resize,
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='repre_mm.LoadImage', channel_order='bgr', skip_damaged=True),
            _base_.load_annotations,
            dict(type='RandomFlip', prob=0.5),
            dict(type='RandomChoice', transforms=[[resize], resize_and_crop]),
            dict(type='PackDetInputs'),
        ]
    )
)
param_scheduler = [dict(_base_.param_scheduler[0], end=500), _base_.param_scheduler[1]]
