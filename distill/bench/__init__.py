"""What `make bench-distill` measures."""
