"""Checkpoint files on a full disk, after a kill or damage; and which one a resume takes."""

import io
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from fixtures.full_disk import FullDisk

from repre_mm.checkpoint import CheckpointError, saving
from repre_mm.checkpoint.saving import newest_checkpoint, write_checkpoint


def checkpoint_bytes(iteration: int, size: int = 1000) -> bytes:
    """What ``torch.save`` makes of a small training checkpoint."""
    content = {
        'state_dict': {'w': torch.full((size,), float(iteration))},
        'optimizer': {},
        'meta': {'iter': iteration, 'epoch': iteration, 'seed': 3},
    }
    with io.BytesIO() as file:
        torch.save(content, file)
        return file.getvalue()


def save_three(folder: Path) -> list[Path]:
    """epoch_8.pth, epoch_9.pth, epoch_10.pth."""
    paths = [folder / f'epoch_{epoch}.pth' for epoch in (8, 9, 10)]
    for epoch, path in zip((8, 9, 10), paths, strict=True):
        write_checkpoint(checkpoint_bytes(epoch), path)
    return paths


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    write_checkpoint(checkpoint_bytes(1), path)
    before = path.read_bytes()
    FullDisk(monkeypatch, room=500)
    with pytest.raises(OSError, match='No space left on device'):
        write_checkpoint(checkpoint_bytes(2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ['epoch_1.pth']
    assert newest_checkpoint(tmp_path).iteration == 1


def test_what_resume_would_refuse_is_not_saved(tmp_path):
    with io.BytesIO() as file:
        torch.save({'meta': {}, 'state_dict': {}, 'what': shutil.Error('x')}, file)
        data = file.getvalue()
    with pytest.raises(CheckpointError, match='besides tensors it holds'):
        write_checkpoint(data, tmp_path / 'epoch_1.pth')
    assert os.listdir(tmp_path) == []


def test_bytes_lost_on_the_way_are_noticed(tmp_path, monkeypatch):
    real = Path.write_bytes
    monkeypatch.setattr(Path, 'write_bytes', lambda path, data: real(path, data[:1500] + b'\xff' + data[1501:]))
    with pytest.raises(CheckpointError, match='its bytes are not those that were written'):
        write_checkpoint(checkpoint_bytes(1), tmp_path / 'epoch_1.pth')
    assert os.listdir(tmp_path) == []


def test_killed_in_mid_save(tmp_path):
    """The draft is half written; the old file is whole, and the only candidate."""
    write_checkpoint(checkpoint_bytes(1), tmp_path / 'epoch_1.pth')

    def half_save():
        saving.verify_checkpoint = lambda draft: (os.truncate(draft, 500), os.kill(os.getpid(), signal.SIGKILL))
        write_checkpoint(checkpoint_bytes(2), tmp_path / 'epoch_1.pth')

    process = multiprocessing.get_context('fork').Process(target=half_save)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    assert newest_checkpoint(tmp_path).iteration == 1
    saving.remove_drafts(tmp_path)
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_newest_is_judged_by_its_content(tmp_path):
    paths = save_three(tmp_path)
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (age, age))  # copied in another order
    torch.save({'state_dict': {}, 'meta': {'iter': 99}}, tmp_path / 'best.pth')  # no optimizer: not to go on from
    point = newest_checkpoint(tmp_path)
    assert (point.path.name, point.iteration, point.seed, point.passed_over) == ('epoch_10.pth', 10, 3, ())


def test_damaged_ones_are_passed_over(tmp_path):
    _, second, third = save_three(tmp_path)
    third.write_bytes(third.read_bytes()[:-800])
    data = bytearray(second.read_bytes())
    at = data.index(torch.full((9,), 9.0).numpy().tobytes())
    data[at] ^= 1  # one bit of a weight
    second.write_bytes(bytes(data))
    point = newest_checkpoint(tmp_path)
    assert point.iteration == 8
    first, other = point.passed_over
    assert 'epoch_10.pth' in first and 'truncated or damaged' in first
    assert 'epoch_9.pth is damaged: its bytes are not those that were written' in other


def test_none_sound(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / 'epoch_1.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match=r'no checkpoint is sound[\s\S]*epoch_1\.pth: the file is empty'):
        newest_checkpoint(tmp_path)
