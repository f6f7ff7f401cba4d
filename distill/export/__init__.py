"""From a trained student to a file that `serve` runs: GGUF models and adapters."""
