"""Encoders of a study by the name of their row: ``NAME=ENCODER``."""

from __future__ import annotations

from collections.abc import Iterable

from repre_mm.evaluation import EncoderName
from repre_mm.utils.errors import UserError


def parse_encoders(texts: Iterable[str]) -> dict[str, EncoderName]:
    """Read ``NAME=ENCODER``, with an encoder in one word (see :mod:`repre_mm.evaluation.encoders`).

    Raises:
        UserError: One is not of that form, or two have the same name.
    """
    encoders: dict[str, EncoderName] = {}
    for text in texts:
        name, _, encoder = text.partition('=')
        if not name or not encoder:
            raise UserError(f'encoder {text!r} is not of the form NAME=ENCODER')
        if name in encoders:
            raise UserError(f'two encoders have the name {name}: give them different ones')
        encoders[name] = EncoderName.parse([encoder])
    return encoders
