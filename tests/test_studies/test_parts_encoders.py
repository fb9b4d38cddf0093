"""Encoders of a study by the name of their row."""

import pytest

from repre_mm.evaluation import EncoderName
from repre_mm.studies.parts.encoders import parse_encoders
from repre_mm.utils.errors import UserError


def test_names_are_split_from_encoders():
    found = parse_encoders(['b=c.py:e.pth', 'a=c.py:random', 'c=timm:vit.dino:e.pth', 'd=timm:vit,depth=2', 'e=e.pth'])
    assert found == {
        'b': EncoderName('c.py', 'e.pth'),
        'a': EncoderName('c.py', 'random'),
        'c': EncoderName('timm:vit.dino', 'e.pth'),
        'd': EncoderName('timm:vit,depth=2', 'random'),
        'e': EncoderName(None, 'e.pth'),
    }


@pytest.mark.parametrize('text', ['c.py:e.pth', '=c.py:e.pth', 'a='])
def test_other_forms_are_refused(text):
    with pytest.raises(UserError, match='is not of the form NAME=ENCODER'):
        parse_encoders([text])


@pytest.mark.parametrize('text', ['a=c.py', 'a=c.py:', 'a=timm:', 'a=timm:vit:'])
def test_encoders_are_checked(text):
    with pytest.raises(UserError, match=r'is a config|does not name an encoder'):
        parse_encoders([text])


def test_rows_need_different_names():
    with pytest.raises(UserError, match='two encoders have the name a'):
        parse_encoders(['a=x.pth', 'a=y.pth'])
