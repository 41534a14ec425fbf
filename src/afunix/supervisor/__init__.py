"""Unmodified Linux programs on the core kernel, by seccomp user notification."""
