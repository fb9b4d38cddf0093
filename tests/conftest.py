"""What every test gets."""

import logging
from itertools import count

import pytest
import torch
from fixtures.clone import clone  # noqa: F401
from fixtures.models import ENCODERS
from fixtures.s3 import s3  # noqa: F401
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope

_COUNT = count()


@pytest.fixture(autouse=True)
def _quiet_and_seeded():
    """One thread, seed and scope per test; a message hub, since mmpretrain's moving average asks it for max_iters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
    # A Runner leaves its hub and its scope behind as the current ones: the next test would read and build with them.
    name = f'test_{next(_COUNT)}'
    MessageHub.get_instance(name).update_info('max_iters', 100)
    DefaultScope.get_instance(name, scope_name='mmpretrain')


@pytest.fixture(params=list(ENCODERS))
def encoder_name(request) -> str:
    """'vit' and 'swin' in turn."""
    return request.param
