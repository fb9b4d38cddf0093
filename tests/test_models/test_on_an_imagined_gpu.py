"""Steps of every method on an imagined GPU (models/repre.py, selfsup): no mixed devices, no waiting but for labels."""

import pytest
import torch
from fixtures.imagined_gpu import DEVICE, Watch, imagined_gpu
from fixtures.methods import METHODS, build, views_for
from fixtures.models import ENCODERS
from packaging.version import Version
from torch import nn

from repre_mm.models.selfsup import CosineEMA

# 2.6 ends the process where a convolution meets an imagined GPU; versions between were not tried.
pytestmark = pytest.mark.skipif(Version(torch.__version__) < Version('2.11'), reason='needs torch 2.11')

#: What waits in every step: mmpretrain's heads make their labels on the host, once per loss ...
LABELS = {
    'simclr': ['contrastive_head.py: labels = torch.zeros((N, ), dtype=torch.long).to(pos.device)'],
    'mocov2': ['contrastive_head.py: labels = torch.zeros((N, ), dtype=torch.long).to(pos.device)'],
    'mocov3': ['mocov3_head.py: batch_size * get_rank()).to(logits.device)'] * 2,
}


@pytest.mark.filterwarnings('ignore:Accessing the data pointer of FakeTensor')  # the tap compares pointers
@pytest.mark.parametrize('encoder', ENCODERS)
@pytest.mark.parametrize('method', METHODS)
def test_step_stays_on_the_device(method, encoder):
    model = build(method, encoder)
    model.loss_weighting.init_steps = 0  # the first steps look at the losses
    sizes = [view.shape for view in views_for(method, encoder)]
    with imagined_gpu(model):
        for _ in range(2):  # the first may look at how a batch is laid out, and at the age of the target network
            with Watch() as watch:
                losses = model([torch.empty(size, device=DEVICE) for size in sizes], None, mode='loss')
                for target in (module for module in model.modules() if isinstance(module, CosineEMA)):
                    target.step()
    assert {name: value.device for name, value in losses.items()} == dict.fromkeys(losses, DEVICE)
    assert watch.waits == LABELS.get(method, [])


def test_watch_sees_what_waits():
    with imagined_gpu(), Watch() as watch:
        total = torch.zeros(2, device=DEVICE).sum()
        total.item()
        torch.zeros(2).to(DEVICE)
        total.mul(2.0).to(DEVICE)  # is there
    here = 'test_on_an_imagined_gpu.py'
    assert watch.waits == [f'{here}: total.item()', f'{here}: torch.zeros(2).to(DEVICE)']


def test_host_tensors_are_refused():
    layer = nn.Linear(2, 2)
    with imagined_gpu(layer), pytest.raises(RuntimeError, match='found two different devices'):
        layer(torch.zeros(1, 2))
