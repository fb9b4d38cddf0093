"""tools/inspect_checkpoint.py and tools/export.py, as they are called."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fixtures.encoders import moco_vit

ROOT = Path(__file__).resolve().parents[2]


def call(tool: str, *args) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_inspect_and_export(tmp_path):
    encoder = moco_vit(arch=dict(num_layers=4, embed_dims=32, feedforward_channels=64), out_type='avg_featmap')
    state = {'backbone.' + key: value for key, value in encoder.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'epoch': 2}}, tmp_path / 'epoch_2.pth')
    config = ROOT / 'tests' / 'fixtures' / 'tiny_config.py'
    done = call('inspect_checkpoint.py', tmp_path / 'epoch_2.pth', '--config', config)
    assert done.returncode == 0, done.stderr
    for part in ('OpenMMLab checkpoint, the online encoder', 'ViT, mmpretrain names', 'parameters filled: 100.00%'):
        assert part in done.stdout

    out = tmp_path / 'vit.pth'
    done = call('export.py', tmp_path / 'epoch_2.pth', out, '--to', 'timm', '--img-size', '48')
    assert done.returncode == 0, done.stderr
    assert f"timm.create_model('NAME', num_classes=0, checkpoint_path='{out}')" in done.stdout
    assert torch.load(out, weights_only=True)['state_dict']['pos_embed'].shape == (1, 37, 32)

    (tmp_path / 'page.pth').write_text('<html>')
    done = call('inspect_checkpoint.py', tmp_path / 'page.pth')
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.splitlines()[-1].startswith(f'error: cannot read {tmp_path}/page.pth: it is a web page')
