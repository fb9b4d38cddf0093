"""Fixtures that the tests of evaluations and of their command lines share."""

from fixtures.evaluation import config, data_root  # noqa: F401
