"""The distillation subsystem: recipes, teachers, agents, logit store, losses, training, evaluation."""
