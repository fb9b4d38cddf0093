# Views of BYOL: view 1 is always blurred, view 2 rarely blurred and sometimes solarized (arXiv 2006.07733, App. B).
# Brightness is a factor, as in all later methods; BYOL's code adds an offset.
crop = dict(
    type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), interpolation='bicubic', backend='pillow'
)
flip = dict(type='RandomFlip', prob=0.5)
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, backend='cv2')
colour = [
    dict(type='RandomApply', transforms=[jitter], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
view_1 = [crop, flip, *colour, dict(**blur, prob=1.0)]
view_2 = [crop, flip, *colour, dict(**blur, prob=0.1), dict(type='Solarize', thr=128, prob=0.2)]

pipeline = [
    dict(type='repre_mm.FastMultiView', num_views=[1, 1], transforms=[view_1, view_2]),
    dict(type='PackInputs'),
]
