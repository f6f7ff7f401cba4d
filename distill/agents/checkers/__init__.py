"""Deterministic checks of an answer, and those that need documents or a second model."""
