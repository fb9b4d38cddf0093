"""The picture of a patch retrieval: a row per encoder, a block per representation."""

import numpy as np

from repre_mm.studies.parts.retrieval import Hit
from repre_mm.studies.parts.retrieval_sheet import retrieval_sheet

BOX = (20, 13, 16, 12)
TILE, COLUMNS, MARGIN, GAP = 96, 6, 12, 6


PIXELS = np.full((48, 64, 3), 200, np.uint8)


def _hits(count):
    return [Hit(1 - i / 100, '0.png', (i, i, 16, 12), lambda: PIXELS) for i in range(count)]


def test_query_and_hits_stand_side_by_side():
    picture = retrieval_sheet(PIXELS, BOX, {'': {'encoded': _hits(8), 'projected': _hits(8)}})
    assert picture.dtype == np.uint8 and picture.shape[1] == 2 * MARGIN + 3 * COLUMNS * TILE + 2 * GAP
    red = (picture == (220, 30, 30)).all(axis=2)
    for block in range(3):
        left = MARGIN + block * (COLUMNS * TILE + GAP)
        assert red[:, left : left + COLUMNS * TILE].any()


def test_encoders_stand_below_each_other_and_a_missing_projector_leaves_its_place():
    one = retrieval_sheet(PIXELS, BOX, {'a': {'encoded': _hits(8), 'projected': _hits(8)}})
    two = retrieval_sheet(PIXELS, BOX, {'a': {'encoded': _hits(8), 'projected': _hits(8)}, 'b': {'encoded': _hits(8)}})
    assert two.shape[1] == one.shape[1] and two.shape[0] > 1.7 * one.shape[0]
    red = (two == (220, 30, 30)).all(axis=2)
    assert not red[one.shape[0] :, -COLUMNS * TILE :].any()
