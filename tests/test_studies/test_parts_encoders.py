"""Encoders of a study by the name of their row."""

import pytest

from repre_mm.evaluation import EncoderName, EvaluationError
from repre_mm.studies.parts import parse_encoder, parse_encoders


def test_names_of_encoders_are_taken_apart():
    assert parse_encoder('a=c.py:e.pth') == ('a', EncoderName('c.py', 'e.pth'))
    assert parse_encoder('a=c.py:random') == ('a', EncoderName('c.py', 'random'))
    assert parse_encoder('a=timm:vit.dino:e.pth') == ('a', EncoderName('timm:vit.dino', 'e.pth'))
    assert parse_encoder('a=timm:vit,depth=2') == ('a', EncoderName('timm:vit,depth=2', 'random'))
    assert parse_encoder('a=e.pth') == ('a', EncoderName(None, 'e.pth'))
    for wrong in ('c.py:e.pth', 'a=c.py', 'a=c.py:', '=c.py:e.pth', 'a=timm:', 'a=timm:vit:', 'a='):
        with pytest.raises(EvaluationError, match='is not of the form NAME=ENCODER'):
            parse_encoder(wrong)


def test_rows_need_different_names():
    assert list(parse_encoders(['b=x.pth', 'a=y.pth'])) == ['b', 'a']
    with pytest.raises(EvaluationError, match='the encoders need different names: a, a'):
        parse_encoders(['a=x.pth', 'a=y.pth'])
