# Views of MoCo v3 and MoBY: BYOL's, with bilinear resizing (arXiv 2104.02057, App. A and main_moco.py; arXiv
# 2105.04553, Sec. 3 and data/build.py of Transformer-SSL).
crop = dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow')
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
flip = dict(type='RandomFlip', prob=0.5)
view_1 = [crop, *colour, dict(**blur, prob=1.0), flip]
view_2 = [crop, *colour, dict(**blur, prob=0.1), dict(type='Solarize', thr=128, prob=0.2), flip]

pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[1, 1], transforms=[view_1, view_2]),
    dict(type='PackInputs'),
]
