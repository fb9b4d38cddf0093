# Views of MoCo v2 and SimSiam: both the same, crops of at least a fifth of the image (arXiv 2003.04297, --aug-plus in
# main_moco.py; arXiv 2011.10566, App. A).
crop = dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow')
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5)
flip = dict(type='RandomFlip', prob=0.5)
view = [crop, *colour, blur, flip]

pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[2], transforms=[view]),
    dict(type='PackInputs'),
]
