"""Training of students, SFT and knowledge distillation: one loop, one process or many ranks.

`job` says what is trained, `step_plan` what each step learns, `batch` builds a pass, `learner` computes its
loss, `engine` and `deepspeed_engine` update the weights, `trainer` is the loop, `start.train` the way in.
"""

from distill.training.job import HeldOut, TrainingJob, TrainingResult
from distill.training.start import train

__all__ = ["HeldOut", "TrainingJob", "TrainingResult", "train"]
