"""One function a stage, `run(context)`; those that ask a teacher also have `preview(context)`: the dry run."""
