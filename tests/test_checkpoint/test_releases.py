"""Released files, laid out by their authors' code: recognised, and read into the timm model that gives their features."""

import pytest
import torch
from fixtures import released

from repre_mm.checkpoint import CheckpointError, identify, load_pretrained
from repre_mm.models.backbones import TimmBackbone

# name of the file -> method, timm model, options that tell releases of one architecture apart, which encoder
EXPECTED = {
    'DINO ViT-S/16': ('DINO', 'vit_small_patch16_224', {'num_heads': 6}, 'target'),
    'MoCo v3 ViT-S': ('MoCo v3', 'vit_small_patch16_224', {'num_heads': 12}, 'online'),
}


def encoder_of(release) -> TimmBackbone:
    return TimmBackbone(release.architecture, **release.options).eval()


def pick(features: torch.Tensor) -> torch.Tensor:
    """The numbers that the golden file keeps."""
    flat = features.flatten()
    return flat[torch.linspace(0, len(flat) - 1, 16).long()]


@pytest.mark.parametrize('name', released.names())
@torch.no_grad()
def test_features_are_those_of_the_authors_code(name, tmp_path):
    checkpoint, golden = released.released_file(name), released.features(name)
    release = identify(checkpoint)
    print(release)
    torch.save(checkpoint, tmp_path / 'file.pth')
    encoder = encoder_of(release)
    report = load_pretrained(encoder, tmp_path / 'file.pth')
    assert report.complete
    assert not report.unexpected
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (release.mean, release.std))
    features = encoder((released.image() - mean) / std)[0]
    torch.testing.assert_close(pick(features), torch.tensor(golden['encoder']), rtol=1e-4, atol=1e-4)
