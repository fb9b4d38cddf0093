"""What the config in a checkpoint tells, without running it."""

import pytest

from repre_mm.checkpoint.provenance import HEADS, provenance

CONFIG = """
optim_wrapper = dict(type='OptimWrapper')
model = dict(
    algorithm=dict(
        backbone=dict({backbone}),
        type='BYOL'),
    type='repre_mm.RePreAlgorithm')
"""


@pytest.mark.parametrize(
    ('backbone', 'heads'),
    [
        ("arch='mocov3-small', type='MoCoV3ViT'", 12),
        ("arch='deit-small', type='VisionTransformer'", 6),
        ('arch=dict(embed_dims=8, num_heads=5)', 5),
        ("arch='unheard-of'", None),
        ("type='SwinTransformer'", None),
    ],
)
def test_method_and_heads(backbone, heads):
    known = provenance({'meta': {'cfg': CONFIG.format(backbone=backbone)}})
    assert known.pop('method') == 'repre_mm.RePreAlgorithm(BYOL)'
    assert known == ({'num_heads': heads} if heads else {})


def test_config_is_not_run(tmp_path):
    proof = tmp_path / 'proof'
    text = f"model = dict(type=open({str(proof)!r}, 'w').name)"
    assert provenance({'meta': {'cfg': text}}) == {}
    assert not proof.exists()


@pytest.mark.parametrize(
    'meta', [None, 'text', {'cfg': 'not python ('}, {'cfg': "model = f(1)['a']"}, {'cfg': None, 'epoch': [1]}]
)
def test_other_peoples_meta_data(meta):
    assert provenance({'meta': meta, 'epoch': 5}).get('epoch') in (5, None)
    assert 'method' not in provenance({'meta': meta})


def test_table_of_heads_is_mmpretrains():
    from mmpretrain.models import MoCoV3ViT, VisionTransformer

    MoCoV3ViT(arch='mocov3-small', patch_size=16)  # adds its own names to the list
    assert {name: arch['num_heads'] for name, arch in VisionTransformer.arch_zoo.items()} == HEADS
