"""Two runs never share a work dir."""

import multiprocessing
import time
from pathlib import Path

import pytest

from repre_mm.engine.resilience.lock import WorkDirInUseError, lock_work_dir


def hold(work_dir: Path, claimed) -> None:
    lock_work_dir(work_dir)
    claimed.set()
    time.sleep(99)


def test_second_run_is_refused_until_the_first_is_dead(tmp_path):
    context = multiprocessing.get_context('fork')
    claimed = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, claimed))
    holder.start()
    try:
        assert claimed.wait(60)
        with pytest.raises(WorkDirInUseError, match=rf'another training .* \(pid {holder.pid} on .* --work-dir'):
            lock_work_dir(tmp_path)
    finally:
        holder.kill()  # without a chance to clean up
        holder.join()
    lock_work_dir(tmp_path)
    lock_work_dir(tmp_path)  # the same process may go on in its own folder


def test_only_the_main_rank_locks(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    lock_work_dir(tmp_path)
    assert list(tmp_path.iterdir()) == []
