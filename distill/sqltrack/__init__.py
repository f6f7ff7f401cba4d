"""SQL training data: schemas, questions with statements, cuts, broken statements; every one executed."""

from distill.sqltrack.track import preview, run

__all__ = ["preview", "run"]
