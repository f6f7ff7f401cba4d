"""`distilsql bench`: the running product against a plain llama.cpp loop, on the same cases in one run."""
