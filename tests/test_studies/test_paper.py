"""The paper's tables agree with each other where they report the same training."""

from repre_mm.studies.paper import TABLE_1, TABLE_4, TABLE_5


def test_tables_agree():
    linear = {(row.method, row.arch): (row.base, row.repre) for row in TABLE_1 if row.epochs == 300}
    for base, scores in TABLE_4.items():
        assert linear[base] == (scores['none'], scores['multi'])
    for arch, scores in TABLE_5.items():
        assert linear['MoCo v3', arch] == (scores['w/o decoder', None], scores['Conv', 2])
