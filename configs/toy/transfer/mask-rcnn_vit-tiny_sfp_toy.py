# Mask R-CNN with a tiny plain ViT and a simple feature pyramid on toy scenes.
#
#   python tools/make_toy_scenes.py data/toy_scenes
#   python tools/train.py configs/toy/transfer/mask-rcnn_vit-tiny_sfp_toy.py --pretrained CHECKPOINT
#
# CHECKPOINT comes from configs/toy/repre_mocov3_vit-tiny_toy.py; without it the encoder starts from random weights.
# Needs: a CPU and a few minutes. Hyper-parameters: those of the toy Swin; patches of 8 pixels give the pyramid strides
# of 2 to 32, half of the usual ones.
_base_ = './mask-rcnn_swin-tiny_toy.py'

width = 128
strides = [2, 4, 8, 16]
roi_layer = dict(featmap_strides=strides, finest_scale=28)
model = dict(
    backbone=dict(
        _delete_=True,
        type='repre_mm.WindowedViT',
        arch=dict(embed_dims=width, num_layers=4, num_heads=2, feedforward_channels=4 * width),
        img_size=48,
        patch_size=8,
        window_size=8,
        global_blocks=(1, 3),
        final_norm=False,
    ),
    neck=dict(_delete_=True, type='repre_mm.SimpleFeaturePyramid', in_channels=width, out_channels=64),
    rpn_head=dict(anchor_generator=dict(strides=[*strides, 32])),
    roi_head=dict(bbox_roi_extractor=roi_layer, mask_roi_extractor=roi_layer),
)
