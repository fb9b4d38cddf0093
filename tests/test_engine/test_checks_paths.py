"""A work dir and checkpoints that cannot be used."""

from fixtures.tiny import tiny_config

from repre_mm.engine.checks.paths import path_faults


def test_paths(tmp_path):
    cfg = tiny_config(work_dir=str(tmp_path / 'new/run'))
    assert list(path_faults(cfg)) == []
    (tmp_path / 'file').touch()
    cfg.work_dir = str(tmp_path / 'file')
    cfg.load_from = str(tmp_path / 'none.pth')
    cfg.model.algorithm.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'file'))
    work_dir, load_from, init = path_faults(cfg)
    assert 'is a file; choose another folder with --work-dir' in work_dir
    assert load_from.startswith(f'load_from: there is no checkpoint {tmp_path}/none.pth')
    assert init.startswith(f'model.algorithm.backbone.init_cfg.checkpoint: cannot read {tmp_path}/file')
    assert not (tmp_path / 'new').exists()
