"""Teachers: models that answer questions and score fixed tokens. Begin with `factory` and `base`."""
