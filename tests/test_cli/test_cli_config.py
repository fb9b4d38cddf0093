"""A command line becomes a config with the options applied, or one list of faults; what --pretrained names."""

import argparse

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.encoders import filled
from fixtures.methods import build
from fixtures.tiny import TINY
from mmengine.config import Config
from torch.testing import assert_close

from repre_mm.checkpoint import load_pretrained
from repre_mm.cli.arguments import add_common_arguments, add_transfer_arguments
from repre_mm.cli.config import checked_config, config_of_method, start_weights
from repre_mm.engine.checks import ConfigError
from repre_mm.utils.errors import UserError


def arguments(pretrained=None, **options):
    defaults = {'init_from': None, 'prefix': None, 'network': None, 'trust': False}
    return argparse.Namespace(pretrained=pretrained, **{**defaults, **options})


def test_fine_tuning_starts_from_the_network_that_the_authors_evaluate(tmp_path):
    model = build('dino', 'vit', repre=False)
    filled(model.backbone, seed=3)
    config = tmp_path / 'dino.py'
    config.write_text("model = dict(type='repre_mm.DINO', backbone=dict())")
    file = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': model.state_dict()}, file)
    encoder = build('mocov3', 'vit', repre=False).backbone
    teacher, student = model.momentum_encoder.module[0].state_dict(), model.backbone.state_dict()
    for name, options, expected in (
        (f'{config}:{file}', {}, teacher),
        (file, {'network': 'target'}, teacher),
        (f'{config}:{file}', {'network': 'online'}, student),
        (file, {'prefix': 'backbone.'}, student),
    ):
        path, loading, _ = start_weights(Config(), arguments(str(name), **options))
        load_pretrained(encoder, path, **loading)
        assert_close(encoder.state_dict(), expected, rtol=0, atol=0)


def test_random_weights_and_what_names_no_file():
    assert start_weights(Config(), arguments()) == (None, {}, 'random weights')
    assert start_weights(Config({'pretrained': 'random'}), arguments()) == (None, {}, 'random weights')
    with pytest.raises(UserError, match='name a file of weights'):
        start_weights(Config(), arguments('timm:vit_tiny_patch16_224'))
    with pytest.raises(UserError, match=r'there is no checkpoint none\.pth'):
        start_weights(Config({'pretrained': 'none.pth'}), arguments())


def test_pretraining_goes_on_from_the_newest_checkpoint_of_a_run(tmp_path):
    model = build('mocov3', 'vit')
    for epoch in (1, 2):
        state = {'state_dict': model.state_dict(), 'optimizer': {}, 'meta': {'iter': epoch, 'epoch': epoch, 'seed': 0}}
        torch.save(state, tmp_path / f'epoch_{epoch}.pth')
    for cfg, args in (
        (Config(), arguments(init_from=str(tmp_path))),
        (Config({'init_from': str(tmp_path)}), arguments()),
    ):
        path, _, network = start_weights(cfg, args)
        assert path == str(tmp_path / 'epoch_2.pth') and network.startswith('online')
    with pytest.raises(UserError, match='holds no checkpoint of a training'):
        start_weights(Config(), arguments(init_from=str(tmp_path.parent)))


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    add_transfer_arguments(parser)
    given = arguments(resume=False, check=True, logger=[], epochs=None, batch_size=None, method=None)
    return argparse.Namespace(**vars(given), **vars(parser.parse_args([str(TINY), *words])))


def test_options_are_applied(tmp_path):
    images = str(make_image_folder(tmp_path / 'images'))
    options = ('--cfg-options', 'train_dataloader.batch_size=2', 'model.neck.num_levels=2', 'init_from=random')
    cfg = checked_config(parse('--data', images, '--work-dir', str(tmp_path / 'run'), '--amp', *options))
    assert cfg.train_dataloader.dataset.root == cfg.data_root == images
    assert cfg.work_dir == str(tmp_path / 'run')
    assert cfg.optim_wrapper.type == 'repre_mm.BFloat16OptimWrapper'
    assert (cfg.train_dataloader.batch_size, cfg.model.neck.num_levels, cfg.init_from) == (2, 2, 'random')


def test_a_limit_of_pixels_and_a_range_reach_everything_that_reads_images(tmp_path):
    images = str(make_image_folder(tmp_path / 'images'))
    work_dir = str(tmp_path / 'run')
    cfg = checked_config(
        parse('--data', images, '--work-dir', work_dir, '--max-pixels', '1600', '--range', '0', '4095')
    )
    dataset = cfg.train_dataloader.dataset
    for node in (dataset, dataset.pipeline[0]):
        assert (node.max_pixels, node.value_range) == (1600, (0.0, 4095.0))
    with pytest.raises(ConfigError, match='40 x 40 = 1,600 pixels, more than the limit of 1,599'):
        checked_config(parse('--data', images, '--work-dir', work_dir, '--max-pixels', '1599'))
    assert parse('--range', 'percentile').decoding == {'value_range': 'percentile'}


@pytest.mark.parametrize('words', ['4095', '4095 0', 'percent', '0 1 2'])
def test_a_range_that_is_none(words, capsys):
    with pytest.raises(SystemExit):
        parse('--range', *words.split())
    assert f"--range {words}: give two rising numbers, such as 0 4095, or 'percentile'" in capsys.readouterr().err


def test_faults_of_a_config_are_in_one_list():
    options = ('--cfg-options', 'train_dataloader.batchsize=2', 'train_cfg.max_epoch=3')
    with pytest.raises(ConfigError, match=r'(?s)2 faults in .*train_dataloader\.batchsize: .*\.max_epoch: '):
        checked_config(parse(*options))


def test_faults_of_data_and_launcher_are_in_one_list(tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    images = make_image_folder(tmp_path / 'images', train=2)
    with pytest.raises(ConfigError, match=r'(?s)2 faults in .*batch_size=4: .*--launcher pytorch needs'):
        checked_config(parse('--data', str(images), '--launcher', 'pytorch'))


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--pretrained'], '--pretrained is for fine-tuning, detection and segmentation: write --init-from a.pth'),
        (['--image-size'], '--image-size: for detection and segmentation only'),
    ],
)
def test_options_that_pretraining_does_not_take(tmp_path, words, message):
    images = str(make_image_folder(tmp_path / 'images'))
    args = parse('--data', images, *(['--image-size', '32'] if '--image-size' in words else []))
    args.pretrained = 'a.pth' if '--pretrained' in words else None
    with pytest.raises(ConfigError, match=message):
        checked_config(args)


def test_an_encoder_that_does_not_fit_is_found_before_pretraining(tmp_path):
    images = str(make_image_folder(tmp_path / 'images'))
    torch.save({'state_dict': build('mocov3', 'swin').state_dict()}, tmp_path / 'swin.pth')
    args = parse('--data', images)
    args.init_from = str(tmp_path / 'swin.pth')
    with pytest.raises(ConfigError, match=r'cannot use .*swin\.pth: it holds a Swin'):
        checked_config(args)


def test_options_that_change_the_config_as_a_whole(tmp_path):
    args = parse('--data', str(make_image_folder(tmp_path / 'images', train=32)), '--work-dir', str(tmp_path / 'run'))
    args.config = 'repre_mocov3_vit-tiny_toy'
    args.method, args.network, args.batch_size, args.epochs = 'dino', 'timm:resnet18', 16, 50
    cfg = checked_config(args)
    assert cfg.filename.endswith('configs/toy/repre_dino_vit-tiny_toy.py')
    assert cfg.model.algorithm.backbone.model_name == 'resnet18'
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer.lr) == (16, 5e-4)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == 50


def test_config_of_another_method():
    mocov3 = 'mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k'
    assert config_of_method(mocov3, 'simclr').stem == mocov3.replace('mocov3', 'simclr')
    with pytest.raises(UserError, match=r'--method moby: there is no config .*/moby/moby_vit-small'):
        config_of_method(mocov3, 'moby')
