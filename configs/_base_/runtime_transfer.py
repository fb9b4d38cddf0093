# Runtime settings for detection and segmentation; the configs set `default_scope` and `visualizer` to those of mmdet or
# mmseg.
_base_ = './default_runtime.py'

pretrained = None  # the encoder's checkpoint: --pretrained CHECKPOINT
log_processor = dict(window_size=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
