# Views of DINO: two global crops, then local ones (arXiv 2104.14294, Sec. 3.1; DataAugmentationDINO in main_dino.py).
# Its longer runs use other scales and ten local crops; their configs build the views from these parts.
crop = dict(type='RandomResizedCrop', interpolation='bicubic', backend='pillow')
flip = dict(type='RandomFlip', prob=0.5)
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')

global_crop = dict(**crop, scale=224, crop_ratio_range=(0.4, 1.0))
local_crop = dict(**crop, scale=96, crop_ratio_range=(0.05, 0.4))
# Transforms after the crop.
global_1 = [flip, *colour, dict(**blur, prob=1.0)]
global_2 = [flip, *colour, dict(**blur, prob=0.1), dict(type='Solarize', thr=128, prob=0.2)]
local = [flip, *colour, dict(**blur, prob=0.5)]

pipeline = [
    dict(
        type='repre_mm.FastMultiView',
        num_views=[1, 1, 8],
        transforms=[[global_crop, *global_1], [global_crop, *global_2], [local_crop, *local]],
    ),
    dict(type='PackInputs'),
]
