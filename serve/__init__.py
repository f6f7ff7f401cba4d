"""Runs models: catalog, pull, engines, scheduler, OpenAI-compatible HTTP. Knows nothing of SQL."""
