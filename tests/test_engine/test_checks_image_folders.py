"""Image folders that are missing, damaged, or hold less than a batch."""

from fixtures.data import make_image_folder
from fixtures.tiny import tiny_config

from repre_mm.engine.checks import data_faults
from repre_mm.engine.checks.image_folders import image_folders


def test_data(tmp_path, monkeypatch):
    images = make_image_folder(tmp_path / 'images', train=12)
    cfg = tiny_config(**{'train_dataloader.dataset.root': str(images), 'work_dir': str(tmp_path / 'run')})
    cfg.train_dataloader.update(drop_last=True, batch_size=12)
    assert data_faults(cfg) == []
    cfg.train_dataloader.batch_size = 13
    (fault,) = data_faults(cfg)
    assert 'there are 12 images, and drop_last=True leaves no batch of them; lower it' in fault
    cfg.train_dataloader.batch_size = 7
    assert data_faults(cfg) == []
    monkeypatch.setenv('WORLD_SIZE', '2')
    (fault,) = data_faults(cfg)
    assert 'batch_size=7 on 2 process' in fault
    for path in sorted((images / 'train/dark').iterdir())[:2]:
        path.write_bytes(b'')
    (fault,) = data_faults(cfg)
    assert f'2 of 12 images under {images}/train cannot be read, more than 10 %' in fault
    assert not (tmp_path / 'run').exists()


def test_image_folders_are_found_wherever_they_stand():
    roots = [node.root for node in image_folders(tiny_config()._cfg_dict)]
    assert roots == ['data/toy_scenes/cls', 'data/toy_scenes/cls']
