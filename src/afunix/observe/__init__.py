"""Readers of what the kernel does: traces, captures, listings."""
