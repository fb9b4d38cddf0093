"""What every test gets."""

import logging
from itertools import count

import pytest
import torch
from fixtures.models import ENCODERS
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope

_COUNT = count()


@pytest.fixture(autouse=True)
def _quiet_and_seeded():
    """One thread, seed and scope per test; a message hub, since mmpretrain's moving average asks it for max_iters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
    MessageHub.get_instance('tests').update_info('max_iters', 100)
    # A Runner leaves its scope behind as the current one, and the next test would build its models in it.
    DefaultScope.get_instance(f'test_{next(_COUNT)}', scope_name='mmpretrain')


@pytest.fixture(params=list(ENCODERS))
def encoder_name(request) -> str:
    """'vit' and 'swin' in turn."""
    return request.param
