"""What the supervisor takes from the host and asks of it as a process: limits and processor time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from afunix.core.kernel import Limits

__all__ = ["host_limits", "undisturbed"]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the processor, where that is allowed: whom we wake on it (SYNC_WAKE_UP) runs afterwards."""
    before = os.sched_getscheduler(0)
    parameters = os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, parameters)


def host_limits() -> Limits:
    """The host's own sysctl values."""

    def read(name: str, default: int) -> int:
        try:
            with open(f"/proc/sys/net/{name}") as file:
                return int(file.read())
        except (OSError, ValueError):
            return default

    defaults = Limits()
    return Limits(
        wmem_default=read("core/wmem_default", defaults.wmem_default),
        wmem_max=read("core/wmem_max", defaults.wmem_max),
        rmem_default=read("core/rmem_default", defaults.rmem_default),
        rmem_max=read("core/rmem_max", defaults.rmem_max),
        somaxconn=read("core/somaxconn", defaults.somaxconn),
        max_dgram_qlen=read("unix/max_dgram_qlen", defaults.max_dgram_qlen),
    )
