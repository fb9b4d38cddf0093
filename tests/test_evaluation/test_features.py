"""Feature extraction: pooling, normalisation, and leaving the encoder as it was."""

import pytest
import torch
from mmpretrain.models import MoCoV3ViT
from torch import nn

from repre_mm.evaluation import extract_features, global_features

ARCH = {'embed_dims': 24, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': 48}


def _vit(**kwargs) -> MoCoV3ViT:
    return MoCoV3ViT(arch=ARCH, img_size=32, patch_size=8, drop_rate=0.5, **kwargs)


class _Returns(nn.Module):
    """Gives what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, images):
        return self.output


def test_class_token_is_taken_as_it_is():
    first, last = torch.rand(2, 5), torch.rand(2, 5)
    torch.testing.assert_close(global_features(_Returns((first, last)), torch.rand(2, 3, 8, 8)), last)


def test_map_is_averaged_over_positions():
    output = torch.rand(2, 5, 3, 4)
    expected = output.flatten(2).mean(dim=2)
    torch.testing.assert_close(global_features(_Returns([output]), torch.rand(2, 3, 8, 8)), expected)


def test_token_sequences_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 17, 5\].*out_type='cls_token'"):
        global_features(_Returns((torch.rand(2, 17, 5),)), torch.rand(2, 3, 8, 8))


def test_training_encoder_is_evaluated_and_left_as_it_was():
    vit = _vit(frozen_stages=1)
    vit.train()
    vit.layers[1].ffn.eval()  # someone's choice, which no call of train() would restore
    modes = [module.training for module in vit.modules()]
    gradients = [parameter.requires_grad for parameter in vit.parameters()]
    images = torch.rand(2, 3, 32, 32)
    features = global_features(vit, images)
    torch.testing.assert_close(features, global_features(vit, images), rtol=0, atol=0)  # no dropout
    assert not features.requires_grad
    assert [module.training for module in vit.modules()] == modes
    assert [parameter.requires_grad for parameter in vit.parameters()] == gradients


def test_modes_return_after_an_error():
    vit = _vit()
    vit.train()
    with pytest.raises(Exception, match=r'shape|size|channels'):
        global_features(vit, torch.rand(1, 2, 32, 32))
    assert vit.training
    assert vit.layers[0].training


@pytest.mark.parametrize('as_type', [torch.uint8, torch.float32])
def test_extraction_normalises_and_keeps_the_order(as_type):
    vit = _vit()
    images = torch.randint(0, 256, (7, 3, 32, 32)).to(as_type)
    labels = torch.arange(7, dtype=torch.int32)
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    features, found = extract_features(vit, batches, mean=mean, std=std, device='cpu', progress=False)
    normalised = (images.float() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(features, global_features(vit, normalised))
    assert features.dtype == torch.float32
    assert found.tolist() == list(range(7))
    assert found.dtype == torch.int64


def test_reduced_precision_stays_close():
    vit = _vit()
    batches = [(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.zeros(4))]
    options = {'mean': [128.0] * 3, 'std': [60.0] * 3, 'device': 'cpu', 'progress': False}
    full, _ = extract_features(vit, batches, **options)
    reduced, _ = extract_features(vit, batches, amp=True, **options)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, full)
    torch.testing.assert_close(reduced, full, rtol=0.05, atol=0.05)


def test_diverged_encoder_is_named():
    output = torch.rand(3, 5)
    output[1, 2] = float('nan')
    batches = [(torch.zeros(3, 3, 8, 8), torch.zeros(3))]
    with pytest.raises(ValueError, match='1 of 3 images are NaN'):
        extract_features(_Returns(output), batches, mean=[0.0], std=[1.0], device='cpu', progress=False)


def test_no_batches():
    with pytest.raises(ValueError, match='no images'):
        extract_features(_vit(), [], mean=[0.0], std=[1.0], device='cpu', progress=False)
