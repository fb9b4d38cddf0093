"""Encoders of a study by the name of a row: ``NAME=CONFIG:CHECKPOINT``, ``NAME=timm:MODEL:FILE``, ``NAME=FILE``."""

from __future__ import annotations

from typing import Any

from repre_mm.evaluation import EncoderName, EvaluationError, FrozenEncoder, load_frozen_encoder


def parse_encoder(text: str) -> tuple[str, str | None, str]:
    """Take ``NAME=ENCODER`` apart; see :mod:`repre_mm.evaluation.encoders`.

    Returns:
        Name, model (a config or ``'timm:MODEL,...'``; None: recognised from the file), and weights.

    Raises:
        EvaluationError: It is not of that form.
    """
    name, _, encoder = text.partition('=')
    if not name or not encoder:
        raise EvaluationError(f'encoder {text!r} is not of the form NAME=ENCODER')
    try:
        parsed = EncoderName.parse([encoder])
    except EvaluationError as error:
        raise EvaluationError(f'encoder {text!r} is not of the form NAME=ENCODER: {error}') from error
    return name, parsed.model, parsed.weights


def load_named_encoder(model: str | None, weights: str, **options: Any) -> FrozenEncoder:
    """:func:`repre_mm.evaluation.load_frozen_encoder` for what :func:`parse_encoder` gave."""
    return load_frozen_encoder(EncoderName(model, weights), **options)
