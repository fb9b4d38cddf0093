"""Numbers of a training that cannot work."""

from fixtures.tiny import tiny_config

from repre_mm.engine.checks import config_faults


def test_a_loop_without_a_length():
    cfg = tiny_config()
    del cfg.train_cfg['max_epochs']
    (fault,) = config_faults(cfg)
    assert fault == 'train_cfg: needs max_epochs=... or max_iters=...'
