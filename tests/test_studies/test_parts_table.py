"""The table of the study: a column for every score that an encoder has."""

from repre_mm.studies.parts.table import QUICK_COLUMNS, STUDY_COLUMNS, study_table


def test_columns_without_scores_are_left_out():
    head = {'encoder': 'vit', 'weights': 'a.pth', 'image_size': 224}
    first = {**head, 'part': {'linear': {'top1': 50.123}, 'retrieval': {'projected': {'ap': 7.0}}}, 'object': {}}
    second = {**head, 'part': {'linear': None, 'segmentation': {'miou': 3.0}}, 'object': {'linear': {'top1': 9.0}}}
    lines = study_table({'x': first, 'y': second}, STUDY_COLUMNS).splitlines()
    assert lines == [
        '| encoder | weights | pixels | part linear | part AP, projected | part mIoU | object linear |',
        '|---|---|---|---|---|---|---|',
        '| x (vit) | a.pth | 224 | 50.12 | 7.00 | - | - |',
        '| y (vit) | a.pth | 224 | - | - | 3.00 | 9.00 |',
    ]


def test_quick_columns_are_those_of_the_quick_protocol():
    level = {'linear': {'top1': 1.0}, 'knn': {'top1': 2.0}, 'miou': 3.0}
    result = {'encoder': 'vit', 'weights': 'random', 'image_size': 32, 'part': level, 'object': level}
    text = study_table({'x': result}, QUICK_COLUMNS)
    assert '| x (vit) | random | 32 | 1.00 | 2.00 | 3.00 | 1.00 | 2.00 | 3.00 |' in text
