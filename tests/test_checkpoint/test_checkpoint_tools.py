"""tools/inspect_checkpoint.py and tools/export.py, as they are called."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from fixtures import released
from fixtures.encoders import moco_vit
from mmpretrain.registry import MODELS

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
    done = call('export.py', tmp_path / 'epoch_2.pth', out, '--to', 'timm')
    assert done.returncode == 0, done.stderr
    assert f"timm.create_model('NAME', num_classes=0, checkpoint_path='{out}')" in done.stdout
    assert torch.load(out, weights_only=True)['state_dict']['pos_embed'].shape == (1, 17, 32)

    (tmp_path / 'page.pth').write_text('<html>')
    done = call('inspect_checkpoint.py', tmp_path / 'page.pth')
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.splitlines()[-1].startswith(f'error: cannot read {tmp_path}/page.pth: it is a web page')


def printed(tool: str, *args, monkeypatch, capsys) -> list[str]:
    """What a tool prints, run in this process."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    return capsys.readouterr().out.splitlines()


@torch.no_grad()
def test_text_for_a_released_file(tmp_path, monkeypatch, capsys):
    file, out = tmp_path / 'dino.pth', tmp_path / 'out.pth'
    torch.save(released.released_file('DINO ViT-S/16'), file)
    lines = printed('inspect_checkpoint.py', file, monkeypatch=monkeypatch, capsys=capsys)
    assert lines[0] == f'file           {file} ({file.stat().st_size / 2**20:.1f} MiB)'
    assert lines[1:-2] == [
        'is             DINO, the target encoder',
        'encoder at     teacher.backbone.',
        'release        DINO',
        'encoders       online at student.backbone., target at teacher.backbone. (the one that its authors evaluate)',
        'timm model     timm:vit_small_patch16_224,num_heads=6',
        'normalisation  mean (123.675, 116.28, 103.53), std (58.395, 57.12, 57.375); features: class token',
        'names          ViT, timm names',
        'architecture   embed_dims 384, num_layers 12, feedforward_channels 1536, patch_size 16, positions 197',
        'tensors        150, 21,665,664 numbers',
        'num_heads      6',
    ]
    assert re.fullmatch(r'sha256         [0-9a-f]{64}', lines[-2])
    assert lines[-1] == "evaluated      target (teacher), as DINO's authors evaluate"

    # The lines that export.py prints build the encoder, as they stand, in both libraries.
    pixels = (released.image() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    golden = torch.tensor(released.features('DINO ViT-S/16')['encoder'])
    for library in ('timm', 'mmpretrain'):
        lines = printed('export.py', file, out, '--to', library, monkeypatch=monkeypatch, capsys=capsys)
        assert 'source         dino.pth: DINO, the target encoder (teacher.backbone.; ViT, timm names)' in lines
        use = lines.index(f'{out}: {out.stat().st_size / 2**20:.1f} MiB. To use it:') + 1
        if library == 'timm':
            encoder = eval(lines[use].strip(), {'timm': timm})
        else:
            encoder = MODELS.build(eval(f'dict({lines[use].strip()})')['backbone'])
            encoder.init_weights()
        encoder.eval()
        features = encoder(pixels)
        features = features[0] if isinstance(features, tuple) else features
        numbers = features.flatten()[torch.linspace(0, 383, len(golden)).long()]
        torch.testing.assert_close(numbers, golden, rtol=1e-4, atol=1e-4)
