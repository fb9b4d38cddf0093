"""What --pretrained names: the file, and the network in it that its authors evaluate."""

import argparse

import pytest
import torch
from fixtures.encoders import filled
from fixtures.methods import build
from mmengine.config import Config
from torch.testing import assert_close

from repre_mm.checkpoint import load_pretrained
from repre_mm.cli.config import start_weights
from repre_mm.utils.errors import UserError


def arguments(*pretrained, **options):
    defaults = {'prefix': None, 'network': None, 'trust': False, 'source_grid': None}
    return argparse.Namespace(pretrained=list(pretrained), **{**defaults, **options})


def test_fine_tuning_starts_from_the_network_that_the_authors_evaluate(tmp_path):
    model = build('dino', 'vit', repre=False)
    filled(model.backbone, seed=3)
    config = tmp_path / 'dino.py'
    config.write_text("model = dict(type='repre_mm.DINO', backbone=dict())")
    file = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': model.state_dict()}, file)
    encoder = build('mocov3', 'vit', repre=False).backbone
    teacher, student = model.momentum_encoder.module[0].state_dict(), model.backbone.state_dict()
    for words, options, expected in (
        ([config, file], {}, teacher),
        ([f'{config}:{file}'], {}, teacher),
        ([file], {'network': 'target'}, teacher),
        ([config, file], {'network': 'online'}, student),
        ([file], {'prefix': 'backbone.'}, student),
    ):
        path, loading, _ = start_weights(Config(), arguments(*map(str, words), **options))
        load_pretrained(encoder, path, **loading)
        assert_close(encoder.state_dict(), expected, rtol=0, atol=0)


def test_random_weights_and_what_names_no_file():
    assert start_weights(Config(), arguments()) == (None, {}, 'random weights')
    assert start_weights(Config({'pretrained': 'random'}), arguments()) == (None, {}, 'random weights')
    with pytest.raises(UserError, match='name a file of weights'):
        start_weights(Config(), arguments('timm:vit_tiny_patch16_224'))
    with pytest.raises(UserError, match=r'there is no checkpoint none\.pth'):
        start_weights(Config({'pretrained': 'none.pth'}), arguments())
