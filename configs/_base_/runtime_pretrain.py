# Runtime settings for pre-training: default_runtime.py plus the hooks of contrastive methods and RePre. Configs add
# `knn` if the images have labels.
_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
init_from = None  # an encoder to go on from: --init-from CHECKPOINT
default_hooks = dict(
    momentum=dict(type='repre_mm.MomentumUpdateHook'),
    reconstruction=dict(type='repre_mm.ReconstructionHook', interval=1),
    weighting=dict(type='repre_mm.WeightingGuardHook'),
    accumulation=dict(type='repre_mm.AccumulationGuardHook'),
    collapse=dict(type='repre_mm.CollapseHook'),
)
log_processor = dict(window_size=10, mean_pattern=r'.*(loss|time|contrast|recon_l1|grad_norm).*')
visualizer = dict(type='UniversalVisualizer', vis_backends=_base_.vis_backends)
