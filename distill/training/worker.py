"""What every rank runs: `python -m distill.training.worker JOB`, started by DeepSpeed's launcher or torchrun."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

from distill.training import trainer
from distill.training.job import TrainingJob
from distill.training.launcher import ERROR
from serve.errors import DistilsqlError
from serve.files import write_atomic


def main(path: Path) -> int:
    """0, or 1 with the reason in error.json, which the launching process tells."""
    job: TrainingJob = pickle.loads(path.read_bytes())
    try:
        trainer.run(job)
    except DistilsqlError as error:
        told = {"message": error.message, "param": error.param}
        write_atomic(path.with_name(ERROR), json.dumps(told).encode())
        sys.stderr.write(f"{error.message}\n")
        sys.stderr.flush()
        # At once: the other ranks wait in a collective operation, and the launcher ends them when one has ended.
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
