# Run-time of detection and segmentation; `default_scope` and `visualizer` are mmdet's or mmseg's, in the configs.
_base_ = './default_runtime.py'

pretrained = None  # the encoder's checkpoint: --pretrained CHECKPOINT
log_processor = dict(window_size=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
