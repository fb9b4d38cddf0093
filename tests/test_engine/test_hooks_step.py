"""The switches of a step in real runs."""

import subprocess
import sys

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


def train(images, work_dir, **options):
    options = {'train_dataloader.batch_size': 4, 'model.algorithm.backbone.drop_path_rate': 0.0, **options}
    runner = make_runner(images, work_dir, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1), **options)
    runner.train()
    return runner


def losses(runner) -> torch.Tensor:
    return torch.as_tensor(runner.message_hub.get_scalar('train/loss').data[0])


@pytest.fixture(scope='module')
def plain(images, tmp_path_factory):
    """A run with all switches off."""
    torch.set_num_threads(1)
    options = {f'default_hooks.step.{switch}': False for switch in ('attention', 'memory')}
    options['optim_wrapper.optimizer.fused'] = False
    return train(images, tmp_path_factory.mktemp('plain'), **options)


def test_default_switches_change_a_run_by_rounding_only(images, tmp_path, plain):
    runner = train(images, tmp_path)
    assert runner.optim_wrapper.optimizer.defaults['fused']
    assert not plain.optim_wrapper.optimizer.defaults['fused']
    assert len(losses(plain)) == 2
    torch.testing.assert_close(losses(runner), losses(plain), rtol=1e-3, atol=1e-3)


def test_checkpointed_and_compiled_run(images, tmp_path, plain):
    options = {'default_hooks.step.checkpoint': True, 'default_hooks.step.compile': dict(backend='eager')}
    options |= {'optim_wrapper.optimizer.fused': False}
    runner = train(images, tmp_path, **options)
    block = runner.model.backbone.layers[0]
    assert type(block).__name__ == 'CompiledTransformerEncoderLayer' and 'forward' in vars(block)
    assert runner.model.state_dict().keys() == plain.model.state_dict().keys()
    # Compilers draw the random numbers of dropped paths in their own way: there are none here.
    torch.testing.assert_close(losses(runner), losses(plain), rtol=1e-3, atol=1e-3)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert '4 blocks are computed again in the backward pass' in log


@pytest.mark.slow  # compiles C++
def test_run_compiled_to_machine_code(images, tmp_path, plain):
    runner = train(images, tmp_path, **{'default_hooks.step.compile': True})
    torch.testing.assert_close(losses(runner), losses(plain), rtol=1e-3, atol=1e-3)


def test_mmengines_compile_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match=r'default_hooks\.step\.compile=True'):
        train(images, tmp_path, compile=True)


def test_freed_memory_is_kept():
    """A tensor of 128 MiB, again and again, asks the system for its pages once."""
    script = """
import resource
import torch
from repre_mm.engine.optim.cpu_kernels import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.zeros(2**25).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
assert keep_memory()
faults()
print(given_back, faults())
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert given_back > 150  # pages of 2 MiB, where the system takes such
    assert kept < given_back / 10
