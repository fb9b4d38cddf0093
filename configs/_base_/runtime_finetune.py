# Runtime settings for fine-tuning a classifier.
_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1'))
log_processor = dict(window_size=10)
visualizer = dict(type='UniversalVisualizer', vis_backends=_base_.vis_backends)
