"""The ring of keys, and similarities to it."""

import pytest
import torch
import torch.nn.functional as F

from repre_mm.models.selfsup.queue import enqueue, similarities


def test_keys_wrap_around_the_end():
    queue, pointer, keys = torch.zeros(16, 10), torch.zeros(1, dtype=torch.long), torch.randn(11, 16)
    for batch in keys.split([4, 4, 3]):  # the last one is partial, and goes over the end by one
        pointer = enqueue(queue, pointer, batch)
    torch.testing.assert_close(queue[:, :1], keys[10:].T)
    torch.testing.assert_close(queue[:, 1:], keys[1:10].T)
    assert pointer.tolist() == [1]


def test_a_batch_beyond_the_queue_is_refused():
    with pytest.raises(ValueError, match='queue_len=3 is smaller than the batch of 4 images over all processes'):
        enqueue(torch.zeros(16, 3), torch.zeros(1, dtype=torch.long), torch.randn(4, 16))


def test_similarities_are_cosines():
    queries, keys, queue = (
        torch.randn(3, 8),
        F.normalize(torch.randn(3, 8), dim=1),
        F.normalize(torch.randn(8, 5), dim=0),
    )
    positive, negative = similarities(queries, keys, queue)
    torch.testing.assert_close(positive[:, 0], F.cosine_similarity(queries, keys))
    torch.testing.assert_close(negative, F.cosine_similarity(queries[:, :, None], queue[None]))


def test_another_width_names_both():
    with pytest.raises(ValueError, match=r'neck\) gives 16 channels, but feat_dim=8'):
        similarities(torch.randn(2, 16), torch.randn(2, 16), torch.randn(8, 5))
