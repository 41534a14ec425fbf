"""AF_UNIX in user space: a Linux-faithful Unix-domain socket kernel, and the ways to stand programs on it."""

__version__ = "0.1.0"
