"""Linear and attentive probes: the study's settings, CAE's block, and that they learn."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from repre_mm.studies.parts.probes import PROBES, AttentiveHead, LinearHead, probe


def test_settings_are_those_of_the_study():
    assert {name: (one.lr, one.epochs, one.batch_size, one.momentum) for name, one in PROBES.items()} == {
        'linear': (0.1, 90, 1024, 0.9),
        'attentive': (0.01, 90, 1024, 0.9),
    }


def _filled(head: torch.nn.Module) -> torch.nn.Module:
    """The recipe of the golden values: every tensor an arithmetic sequence, in the order of the names below."""
    for number, name in enumerate(NAMES):
        value = dict(head.named_parameters())[name]
        flat = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.37 + number)
        offset = 1.0 if name.startswith('norm_') and name.endswith('weight') else 0.0
        value.data = (offset + 0.3 * flat).reshape(value.shape).float()
    return head.eval()


NAMES = [
    'query',
    *(f'norm_{x}.{kind}' for x in 'qkv' for kind in ('weight', 'bias')),
    *('q.weight', 'q.bias', 'k.weight', 'v.weight', 'v.bias', 'proj.weight', 'proj.bias'),
]
# pooled[:, 0] of AttentiveBlock(dim=24, num_heads=12, qkv_bias=True) in models/modeling_finetune.py of lxtGH/CAE at
# d72597143e486d9bbbaf1e3adc4fd9cfa618633a, filled by the recipe above, on the tokens of the test.
GOLDEN = [
    [1.298498, -1.306008, 1.70751, -0.625607, 0.434727, 0.89214],
    [2.474977, -2.399276, 2.40105, -0.718626, -0.099704, 1.899295],
]


def test_attention_is_that_of_cae():
    head = _filled(AttentiveHead(24, 3))
    tokens = torch.sin(torch.arange(2 * 5 * 24, dtype=torch.float32) * 0.11).reshape(2, 5, 24)
    head.norm = torch.nn.Identity()
    head.head = torch.nn.Identity()
    assert_close(head(tokens)[:, :6], torch.tensor(GOLDEN), rtol=1e-4, atol=1e-5)


def test_number_of_heads_divides_the_width():
    assert AttentiveHead(768, 2).heads == 12 and AttentiveHead(128, 2).heads == 8 and AttentiveHead(26, 2).heads == 2


def test_linear_probe_sees_the_class_token_only():
    head, tokens = LinearHead(8, 3), torch.randn(4, 5, 8)
    assert_close(head(tokens), F.linear(tokens[:, 0], head.head.weight, head.head.bias))


def _tokens(count: int, where: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The label shows in one token; of the patches, in a random one of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    tokens = 0.3 * torch.randn(count, 5, 12, generator=generator)
    places = torch.zeros(count, dtype=torch.long) if where == 0 else torch.randint(1, 5, (count,), generator=generator)
    tokens[torch.arange(count), places] += 3 * F.one_hot(labels, 12)
    return tokens.half(), labels


@pytest.mark.parametrize(('name', 'where'), [('linear', 0), ('attentive', 0), ('attentive', 1)])
def test_probes_learn_what_their_tokens_show(name, where):
    train, val = _tokens(600, where, seed=0), _tokens(150, where, seed=1)
    result = probe(name, *train, *val, 3, epochs=60, progress=False)
    assert result['top1'] > 80 and result['best_top1'] >= result['top1']
    wrong = probe(name, train[0], train[1][torch.randperm(600)], *val, 3, epochs=10, progress=False)
    assert wrong['top1'] < 60


def test_linear_probe_cannot_see_patches():
    train, val = _tokens(300, 1, seed=0), _tokens(90, 1, seed=1)
    assert probe('linear', *train, *val, 3, epochs=30, progress=False)['top1'] < 60


def test_seed_decides_the_result():
    train, val = _tokens(90, 1, seed=0), _tokens(90, 1, seed=1)
    first, again = (probe('attentive', *train, *val, 3, epochs=3, seed=5, progress=False) for _ in range(2))
    assert first == again
