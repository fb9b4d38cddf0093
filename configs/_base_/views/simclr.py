# Views of SimCLR: both the same, with the strongest colour jitter of all methods (arXiv 2002.05709, App. A, strength
# 1.0; bicubic as in data_util.py of its release).
crop = dict(
    type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), interpolation='bicubic', backend='pillow'
)
flip = dict(type='RandomFlip', prob=0.5)
jitter = dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5)
view = [crop, flip, *colour, blur]

pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[2], transforms=[view]),
    dict(type='PackInputs'),
]
