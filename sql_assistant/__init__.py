"""SQL: schemas, prompts, completion, repair, validation, events, benchmark and their HTTP router."""
