"""The ablation's tables: the paper's layout, its numbers beside, mean and spread over seeds."""

import pytest

from repre_mm.studies.ablation import STUDIES, Base, Cell, Settings, cells_of
from repre_mm.studies.ablation_tables import gains, report, study_table

VIT = Base('MoCo v3', 'ViT-S')
SETTINGS = Settings(size='toy', data='data', train_images=12, k=3)


def _scores(studies, seeds=(0,)):
    """Every cell with scores that tell where they come from."""
    cells = cells_of(SETTINGS, studies, seeds, [], [])
    order = {cell[:2]: index for index, cell in enumerate(cell for cell in cells if cell.seed == seeds[0])}
    return {
        cell: {
            'linear_top1': 30.0 + order[cell[:2]] + 2 * cell.seed,
            'knn_top1': 20.0 + order[cell[:2]],
            'recon_l1': None if cell.variant == 'none' else 0.25,
        }
        for cell in cells
    }


def test_table_4_is_laid_out_as_in_the_paper():
    lines = study_table('features', SETTINGS, _scores(['features']))
    assert lines[0].startswith('| Method | Arch. | Single | Multi | linear, top-1 (%) |')
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]
    assert [row[:4] for row in rows[:3]] == [
        ['MoCo v3', 'ViT-S, toy', '', ''],
        ['MoCo v3', 'ViT-S, toy', '✓', ''],
        ['MoCo v3', 'ViT-S, toy', '', '✓'],
    ]
    assert [row[:2] for row in rows[3::3]] == [
        ['MoBY', 'ViT-S, toy'],
        ['MoCo v3', 'Swin-T, toy'],
        ['MoBY', 'Swin-T, toy'],
    ]
    assert [row[-1] for row in rows] == (
        ['72.5', '72.8', '73.2', '72.8', '73.1', '73.9', '75.4', '75.7', '76.4', '75.0', '75.4', '76.1']
    )
    assert [row[4] for row in rows[:3]] == ['30.0', '31.0', '32.0']
    assert [row[6] for row in rows[:3]] == ['-', '0.2500', '0.2500']


def test_table_5_is_laid_out_as_in_the_paper():
    lines = study_table('fusion', SETTINGS, _scores(['fusion']))
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]
    assert [row[:3] for row in rows[:7]] == [
        ['w/o decoder', '-', 'ViT-S, toy'],
        *(['Conv', n, 'ViT-S, toy'] for n in '124'),
        *(['Transformer', n, 'ViT-S, toy'] for n in '124'),
    ]
    assert [row[-1] for row in rows] == (
        ['72.5', '73.0', '73.2', '73.2', '71.8', '72.0', '71.4', '75.4', '76.1', '76.4', '76.2', '74.6', '75.2', '74.5']
    )


def test_other_studies_have_a_column_per_variant_and_the_spread_over_seeds():
    lines = study_table('levels', SETTINGS, _scores(['levels'], seeds=(0, 1)))
    assert lines[0] == '|  | 1 | 2 | 3 | 4 |'
    assert lines[2].startswith('| linear, top-1 (%) | 31.0 ± 1.4 | 32.0 ± 1.4 |')
    assert lines[4] == '| L1 | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 |'


def test_cells_that_are_missing_stay_empty():
    lines = study_table('features', SETTINGS, {})
    assert all(line.split('|')[5].strip() == '-' for line in lines[2:])


def test_gains_are_means_over_seeds():
    found = gains(SETTINGS, _scores(['features'], seeds=(0, 1)))
    assert [gain.label for gain in found] == [f'{m}\n{a}, toy' for m, a in STUDIES['features'].bases]
    assert (found[0].plain, found[0].repre, found[0].paper) == (31.0, 33.0, (72.5, 73.2))
    only_plain = {Cell(VIT, 'none', 0): {'linear_top1': 1.0, 'knn_top1': 1.0, 'recon_l1': None}}
    assert gains(SETTINGS, only_plain) == []


@pytest.mark.parametrize('study', STUDIES)
def test_report_holds_every_study(study):
    text = report(SETTINGS, [study], _scores([study]))
    assert f'## {STUDIES[study].title}' in text and 'kNN, k = 3' in text and 'One seed.' in text
