import torch

from repre_mm.models import SimpleFeaturePyramid


def test_pyramid_has_the_strides_that_heads_expect():
    neck = SimpleFeaturePyramid(16, out_channels=8, num_outs=5)
    levels = neck((torch.randn(2, 16, 6, 8),))
    assert [tuple(level.shape) for level in levels] == [
        (2, 8, 24, 32),
        (2, 8, 12, 16),
        (2, 8, 6, 8),
        (2, 8, 3, 4),
        (2, 8, 2, 2),
    ]
    assert torch.equal(levels[4], levels[3][..., ::2, ::2])
    # Every level ends in a norm over its channels.
    for level in levels[:4]:
        torch.testing.assert_close(level.mean(1), torch.zeros_like(level[:, 0]), atol=1e-5, rtol=0)
    sum(level.square().sum() for level in levels).backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())
