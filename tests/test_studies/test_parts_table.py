"""The table of the study: a column for every score that an encoder has."""

from repre_mm.studies.parts import QUICK_COLUMNS, STUDY_COLUMNS, markdown_table


def test_columns_without_scores_are_left_out():
    head = {'encoder': 'vit', 'weights': 'a.pth', 'image_size': 224}
    first = {**head, 'part': {'linear': {'top1': 50.123}, 'retrieval': {'projected': {'ap': 7.0}}}, 'object': {}}
    second = {**head, 'part': {'linear': None, 'segmentation': {'miou': 3.0}}, 'object': {'linear': {'top1': 9.0}}}
    lines = markdown_table({'x': first, 'y': second}, STUDY_COLUMNS).splitlines()
    assert lines == [
        '| encoder | weights | pixels | part linear | part AP, projected | part mIoU | object linear |',
        '|---|---|---|---|---|---|---|',
        '| x (vit) | a.pth | 224 | 50.12 | 7.00 | - | - |',
        '| y (vit) | a.pth | 224 | - | - | 3.00 | 9.00 |',
    ]


def test_heads_that_stopped_short_are_named():
    level = {'linear': {'top1': 1.0}, 'knn': {'top1': 2.0}, 'miou': 3.0}
    head = {'encoder': 'vit', 'weights': 'random', 'image_size': 32}
    result = {**head, 'part': {**level, 'head_converged': False}, 'object': {**level, 'head_converged': True}}
    text = markdown_table({'x': result}, QUICK_COLUMNS)
    assert '| x (vit) | random | 32 | 1.00 | 2.00 | 3.00 | 1.00 | 2.00 | 3.00 |' in text
    assert text.endswith('Segmentation heads that stopped short of their minimum: x (part).\n')
