# Settings that all runs share, on CPUs and GPUs: hooks, distributed training, logging, seed. Configs inherit them
# through runtime_pretrain.py, runtime_finetune.py or runtime_transfer.py.
#
# Change a hook by its name: --cfg-options default_hooks.logger.interval=10; default_hooks.watchdog=None turns one off.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='repre_mm.SafeCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    throughput=dict(type='repre_mm.ThroughputHook'),
    stop_signal=dict(type='repre_mm.StopSignalHook'),
    non_finite=dict(type='repre_mm.NonFiniteHook'),
    watchdog=dict(type='repre_mm.WatchdogHook'),
    step=dict(type='repre_mm.FastStepHook'),
)
custom_hooks = []  # add your own hooks here

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
model_wrapper_cfg = dict(type='repre_mm.DistributedDataParallel')
vis_backends = [dict(type='repre_mm.LocalVisBackend')]
log_level = 'INFO'
load_from = None
resume = False
# Each process draws its own augmentations.
randomness = dict(seed=0, diff_rank_seed=True)
