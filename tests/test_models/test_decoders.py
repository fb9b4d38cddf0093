import pytest
import torch
import torch.nn.functional as F

from repre_mm.models import RePreDecoder


@pytest.mark.parametrize('fusion', ['conv', 'transformer'])
@pytest.mark.parametrize('num_fusion_layers', [1, 2, 4])
@pytest.mark.parametrize('num_levels', [1, 2, 4])
def test_any_number_of_levels_and_layers(fusion, num_fusion_layers, num_levels):
    decoder = RePreDecoder([32] * num_levels, 8, num_fusion_layers, fusion)
    image = decoder([torch.randn(2, 32, 3, 5) for _ in range(num_levels)])
    assert image.shape == (2, 3, 24, 40)
    image.sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())


@pytest.mark.parametrize('patch', [4, (2, 6)])
def test_a_cell_draws_its_own_patch(patch):
    """With K = 1 only the head is left: changing one cell changes exactly the pixels of its patch."""
    decoder = RePreDecoder([8], patch)
    rows, columns = decoder.patch_size
    x = torch.randn(1, 8, 3, 4)
    changed = x.clone()
    changed[0, :, 1, 2] += 1
    difference = (decoder([x]) - decoder([changed]))[0].abs().sum(0) > 0
    expected = torch.zeros(3 * rows, 4 * columns, dtype=torch.bool)
    expected[rows : 2 * rows, 2 * columns : 3 * columns] = True
    assert torch.equal(difference, expected)


def test_square_patches_shuffle_like_torch():
    decoder = RePreDecoder([8], 4)
    x = torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(decoder([x]), F.pixel_shuffle(decoder.head(x), 4))


def test_pyramid_is_aligned_bilinearly_and_fused_from_deep_to_shallow():
    decoder = RePreDecoder([4, 8], 2, num_fusion_layers=1)
    shallow, deep = torch.randn(1, 4, 6, 6), torch.randn(1, 8, 3, 3)
    up = F.interpolate(deep, scale_factor=2, mode='bilinear', align_corners=False)
    fused = decoder.fusions[0][0](torch.cat([up, shallow], 1)).relu()
    torch.testing.assert_close(decoder([shallow, deep]), F.pixel_shuffle(decoder.head(fused), 2))


def test_windowed_transformer_fusion_on_a_pyramid():
    decoder = RePreDecoder([32, 32], 4, 2, 'transformer', window_size=7)
    assert decoder([torch.randn(1, 32, 16, 16), torch.randn(1, 32, 8, 8)]).shape == (1, 3, 64, 64)


def test_loss_is_the_mean_absolute_error():
    decoder = RePreDecoder([8], 4)
    maps, target = [torch.randn(2, 8, 2, 2)], torch.rand(2, 3, 8, 8)
    expected = (decoder(maps) - target).abs().sum() / (2 * 3 * 8 * 8)
    torch.testing.assert_close(decoder.loss(maps, target), expected)


def test_loss_is_fp32_under_autocast():
    decoder = RePreDecoder([8], 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert decoder.loss([torch.randn(2, 8, 2, 2)], torch.rand(2, 3, 8, 8)).dtype == torch.float32


def test_transformer_needs_heads_that_divide():
    with pytest.raises(ValueError, match='100 is not a multiple of 32'):
        RePreDecoder([100, 100], 4, fusion='transformer')
