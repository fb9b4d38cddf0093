"""Encoders of a study by the name of their row: ``NAME=ENCODER``."""

from __future__ import annotations

from repre_mm.evaluation import EncoderName, EvaluationError


def parse_encoder(text: str) -> tuple[str, EncoderName]:
    """Take ``NAME=ENCODER`` apart; see :mod:`repre_mm.evaluation.encoders`.

    Raises:
        EvaluationError: It is not of that form.
    """
    name, _, encoder = text.partition('=')
    if not name or not encoder:
        raise EvaluationError(f'encoder {text!r} is not of the form NAME=ENCODER')
    try:
        return name, EncoderName.parse([encoder])
    except EvaluationError as error:
        raise EvaluationError(f'encoder {text!r} is not of the form NAME=ENCODER: {error}') from error


def parse_encoders(texts: list[str]) -> dict[str, EncoderName]:
    """Name of the row -> encoder.

    Raises:
        EvaluationError: Two rows have one name.
    """
    pairs = [parse_encoder(text) for text in texts]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise EvaluationError(f'the encoders need different names: {", ".join(names)}')
    return dict(pairs)
