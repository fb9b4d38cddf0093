"""The tensors-only reader in mmengine: installed on request; downloads happen once per machine."""

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from repre_mm.checkpoint import CheckpointError
from repre_mm.engine import install_safe_loading
from repre_mm.engine.safe_loading import load_from_http


@pytest.fixture
def schemes(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


def test_mmengine_refuses_code_once_it_is_installed(schemes, tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ('code ran',))

    torch.save({'state_dict': {'w': torch.ones(2)}}, tmp_path / 'good.pth')
    torch.save({'state_dict': {}, 'extra': Code()}, tmp_path / 'bad.pth')
    install_safe_loading()
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'good.pth'))
    torch.testing.assert_close(loaded['state_dict']['w'], torch.ones(2))
    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'bad.pth'))


@pytest.mark.parametrize(('rank', 'local_rank', 'downloads'), [(0, 0, 1), (8, 0, 1), (9, 1, 0)])
def test_each_machine_downloads_once(rank, local_rank, downloads, monkeypatch, tmp_path):
    """Ranks 8 and 9 are on the second machine, which has a cache of its own."""
    cache, asked = tmp_path / 'checkpoints', []

    def download(url, path):
        asked.append(url)
        torch.save({'w': torch.ones(1)}, path)

    monkeypatch.setenv('LOCAL_RANK', str(local_rank))
    monkeypatch.setattr('mmengine.dist.get_rank', lambda *_: rank)
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda *_: rank)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    # The barrier, after which the first process of the machine has put the file there.
    monkeypatch.setattr(
        'repre_mm.engine.safe_loading.barrier', lambda: downloads or (cache.mkdir(), download('', cache / 'e.pth'))
    )
    loaded = load_from_http('https://example.com/a/e.pth?x=1')
    assert loaded['w'] == 1
    assert len([url for url in asked if url]) == downloads
