"""A teacher's distributions: captured once into a store, or asked for while the student trains."""
