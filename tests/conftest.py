"""What every test gets."""

import logging

import pytest
import torch
from fixtures.models import ENCODERS
from mmengine.logging import MessageHub, MMLogger


@pytest.fixture(autouse=True)
def _quiet_and_seeded():
    """One thread and one seed per test; a message hub, since mmpretrain's moving average asks it for max_iters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
    MessageHub.get_instance('tests').update_info('max_iters', 100)


@pytest.fixture(params=list(ENCODERS))
def encoder_name(request) -> str:
    """'vit' and 'swin' in turn."""
    return request.param
