"""Losses of distillation: divergences over K tokens and the rest, their sums from hidden states, transfer."""
