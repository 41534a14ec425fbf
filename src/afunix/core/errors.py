"""The exception for what afunix does not do, as against what Linux refuses."""

from __future__ import annotations

from afunix.abi.errno import Errno, SyscallError

__all__ = ["BrokenPipe", "Unmodelled"]


class Unmodelled(NotImplementedError):  # noqa: N818 (it is no error of the caller)
    """Linux would do this, and afunix has not modelled it: that is loud, never a quiet success.

    A refusal of Linux itself is `SyscallError`; no front end turns this exception into an errno.
    """


class BrokenPipe(SyscallError):  # noqa: N818 (its name in Python too is without)
    """EPIPE; with `signal` the front end also sends SIGPIPE to the calling thread (DATA-6)."""

    def __init__(self, signal: bool) -> None:
        super().__init__(Errno.EPIPE)
        self.signal = signal
