"""One walk over a config finds everything that stands in it."""

from fixtures.tiny import tiny_config
from mmengine.config import ConfigDict

from repre_mm.utils.configs import find_nodes, is_transfer, starts_from_encoder, walk


def test_walk_names_each_place():
    part = ConfigDict(a=dict(type='A', parts=[dict(type='B'), [dict(type='C')]]), b=3, c=(dict(type='D'),))
    assert {path: node.get('type') for path, node in walk(part)} == {
        '': None,
        'a': 'A',
        'a.parts.0': 'B',
        'a.parts.1.0': 'C',
        'c.0': 'D',
    }
    assert [path for path, _ in walk(part.a, 'model')] == ['model', 'model.parts.0', 'model.parts.1.0']
    assert list(walk(None)) == list(walk('text')) == []


def test_found_nodes_can_be_changed_in_place():
    part = ConfigDict(a=dict(size=1), b=[dict(size=2)])
    for node in find_nodes(part, 'size'):
        node.size = 3
    assert part == dict(a=dict(size=3), b=[dict(size=3)])
    assert list(find_nodes(part, 'size', 2)) == []


def test_kinds_of_configs():
    cfg = tiny_config()
    assert not is_transfer(cfg) and not starts_from_encoder(cfg)
    cfg.model.type = 'ImageClassifier'
    assert not is_transfer(cfg) and starts_from_encoder(cfg)
    cfg.default_scope = 'mmseg'
    assert is_transfer(cfg)
