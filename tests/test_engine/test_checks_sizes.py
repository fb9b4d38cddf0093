"""Numbers of a training that cannot work."""

from fixtures.tiny import tiny_config

from repre_mm.engine.checks import config_faults


def test_a_loop_without_a_length():
    cfg = tiny_config()
    del cfg.train_cfg['max_epochs']
    (fault,) = config_faults(cfg)
    assert fault == 'train_cfg: needs max_epochs=... or max_iters=...'


def test_unequal_numbers_of_images(monkeypatch):
    cfg = tiny_config()
    cfg.train_dataloader.sampler.round_up = False
    assert config_faults(cfg) == []
    monkeypatch.setenv('WORLD_SIZE', '2')
    (fault,) = config_faults(cfg)
    assert 'sampler.round_up=False gives some processes fewer images' in fault and 'set it to True' in fault
