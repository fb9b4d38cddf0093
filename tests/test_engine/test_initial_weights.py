"""Pre-training that goes on from an encoder, and weights that do not arrive, which end the run."""

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmpretrain.models import VisionTransformer
from torch.testing import assert_close

from repre_mm.checkpoint import CheckpointError
from repre_mm.engine.initial_weights import start_from

ONE_EPOCH = dict(type='EpochBasedTrainLoop', max_epochs=1)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


@pytest.fixture(scope='module')
def first(images, tmp_path_factory):
    """The work dir of a run of one epoch."""
    torch.set_num_threads(1)
    work_dir = tmp_path_factory.mktemp('first')
    make_runner(images, work_dir, train_cfg=ONE_EPOCH).train()
    return work_dir


def encoder_of(work_dir) -> dict[str, torch.Tensor]:
    state = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    return {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}


class FirstStep(Hook):
    """Keep both encoders as they are when the first step begins."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 0:
            algorithm = runner.model.algorithm
            self.encoders = [
                {key: value.clone() for key, value in encoder.state_dict().items()}
                for encoder in (algorithm.backbone, algorithm.momentum_encoder.module[0])
            ]


def test_both_encoders_start_from_the_file(first, images, tmp_path):
    runner = make_runner(images, tmp_path, train_cfg=ONE_EPOCH)
    report = start_from(runner, first / 'epoch_1.pth')
    assert report.complete
    runner.register_hook(seen := FirstStep())
    runner.train()
    for encoder in seen.encoders:
        assert_close(encoder, encoder_of(first), rtol=0, atol=0)
    assert 'encoder parameters filled: 100.00%' in next(tmp_path.glob('*/*.log')).read_text()
    assert not torch.equal(
        runner.model.backbone.layers[0].attn.qkv.weight, encoder_of(first)['layers.0.attn.qkv.weight']
    )


def test_it_starts_at_the_score_of_the_run_before(images, tmp_path):
    knn = {'default_hooks.knn': dict(type='repre_mm.OnlineKNNHook')}
    first = make_runner(images, tmp_path / 'first', **knn)
    first.train()
    again = make_runner(images, tmp_path / 'again', init_from=str(tmp_path / 'first'), train_cfg=ONE_EPOCH, **knn)
    start_from(again, tmp_path / 'first/epoch_2.pth')
    again.train()
    scores = [runner.message_hub.get_scalar('val/knn_top1').data[0] for runner in (first, again)]
    assert len(scores[1]) == 2  # at the start, and after the epoch
    assert scores[1][0] == scores[0][-1]


def test_a_resumed_run_keeps_its_own_weights(first, images, tmp_path):
    make_runner(images, tmp_path, train_cfg=ONE_EPOCH).train()
    assert start_from(make_runner(images, tmp_path, resume=True), first / 'epoch_1.pth') is None


def other_names(first, tmp_path):
    """The encoder of the run, under names that mmengine does not find in the model."""
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': {f'student.trunk.{key}': value for key, value in encoder_of(first).items()}}, path)
    return str(path)


class OwnLoader(VisionTransformer):
    """Read ``init_cfg`` itself and skip what does not fit, as mmseg's encoders do."""

    def init_weights(self) -> None:
        state = torch.load(self.init_cfg['checkpoint'], weights_only=True)['state_dict']
        self.load_state_dict(state, strict=False)


def options_of(how: str, path: str) -> dict:
    init = dict(type='Pretrained', checkpoint=path)
    if how == 'load_from':
        return {'load_from': path}
    if how == 'own loader':
        return {'model.algorithm.backbone.init_cfg': init, 'model.algorithm.backbone.type': 'OwnLoader'}
    return {f'model.algorithm.{"backbone." if how == "init_cfg" else ""}init_cfg': init}


@pytest.mark.parametrize('how', ['load_from', 'init_cfg', 'init_cfg of the method', 'own loader'])
def test_weights_that_do_not_arrive_end_the_run(how, first, images, tmp_path):
    MODELS.register_module(module=OwnLoader, force=True)
    options = options_of(how, other_names(first, tmp_path))
    runner = make_runner(images, tmp_path / 'run', train_cfg=ONE_EPOCH, **options)
    with pytest.raises(CheckpointError, match=r'other\.pth filled [01]\.\d% of the encoder.*--init-from .*other\.pth'):
        runner.train()


@pytest.mark.parametrize('how', ['load_from', 'init_cfg of the method'])
def test_weights_that_arrive_are_trained(how, first, images, tmp_path):
    runner = make_runner(images, tmp_path, train_cfg=ONE_EPOCH, **options_of(how, str(first / 'epoch_1.pth')))
    runner.register_hook(seen := FirstStep())
    runner.train()
    assert_close(seen.encoders[0], encoder_of(first), rtol=0, atol=0)
