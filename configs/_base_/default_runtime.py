# What every pre-training run shares: scope, hooks, logging, several processes. On a CPU as on GPUs.
default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='repre_mm.SafeCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    stop_signal=dict(type='repre_mm.StopSignalHook'),
    non_finite=dict(type='repre_mm.NonFiniteHook'),
    step=dict(type='repre_mm.FastStepHook'),
    accumulation=dict(type='repre_mm.AccumulationGuardHook'),
    watchdog=dict(type='repre_mm.WatchdogHook'),
    collapse=dict(type='repre_mm.CollapseHook'),
)
custom_hooks = [
    dict(type='repre_mm.MomentumUpdateHook'),
    dict(type='repre_mm.ThroughputHook'),
    dict(type='repre_mm.ReconstructionHook', interval=1),
    dict(type='repre_mm.WeightingGuardHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
model_wrapper_cfg = dict(type='repre_mm.DistributedDataParallel')
log_processor = dict(window_size=10, mean_pattern=r'.*(loss|time|contrast|recon_l1|grad_norm).*')
vis_backends = [dict(type='repre_mm.LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
# Each process draws its own augmentations.
randomness = dict(seed=0, diff_rank_seed=True)
