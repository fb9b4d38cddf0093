"""Transfer on two processes over gloo, which train alike and score as one does."""

import json

import pytest
from fixtures.torchrun import run_on_one_rank, run_on_two_ranks
from fixtures.transfer import DETECTION, SEGMENTATION, make_scenes


@pytest.mark.dist
def test_two_ranks_score_as_one(tmp_path):
    # Five images over two ranks: one rank has to see an image twice, which must not count twice.
    scenes = make_scenes(tmp_path / 'scenes', train=2, val=5)
    reports = {}
    for name, run in (('one', run_on_one_rank), ('two', run_on_two_ranks)):
        out = tmp_path / f'{name}.json'
        run('-m', 'fixtures.ranks', 'transfer', scenes, tmp_path / name, out)
        reports[name] = json.loads(out.read_text())

    assert reports['two']['alike'] == [True, True]
    for path, scores in ((DETECTION, ('coco/bbox_mAP', 'coco/segm_mAP')), (SEGMENTATION, ('mIoU', 'mAcc', 'aAcc'))):
        one, two = (reports[name][path.stem] for name in ('one', 'two'))
        for score in scores:
            assert 0 < one[score] < 100
            assert one[score] != 1
            assert two[score] == pytest.approx(one[score], abs=1e-9), score
