"""Side-by-side benchmarks of what a program can stand on; `bench.__main__` says how to run them."""
