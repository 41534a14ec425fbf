"""Limits of the host that programs see."""

from __future__ import annotations

from afunix.core.kernel import Limits

__all__ = ["host_limits"]


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
