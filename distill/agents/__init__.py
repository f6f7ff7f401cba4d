"""Black box: the agents that make, answer, choose and check records.

`expansion` → `rewriting` → `answering` → `selection` → `verification`. Each is a function of records,
settings, a teacher's replies and a seed; whatever is not a reply is computed again, so that a killed stage
goes on from its journal to the same result. Knows no run folder.
"""
