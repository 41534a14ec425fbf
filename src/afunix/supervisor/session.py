"""One `afunix run`: launch, serve until the last program is gone, report the exit status."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import TYPE_CHECKING

from afunix.abi import arch
from afunix.abi.seccomp import build_filter
from afunix.supervisor import policy
from afunix.supervisor.bridge import Bridge
from afunix.supervisor.launch import launch
from afunix.supervisor.supervisor import Supervisor
from afunix.syscalls.table import HANDLERS, MAKING

if TYPE_CHECKING:
    from afunix.supervisor.tracing import Tracing

__all__ = ["serve", "trap_filter"]


def trap_filter() -> bytes:
    """The seccomp filter for policy's tables on this machine."""
    machine = arch.current()
    numbers = machine.numbers
    names = [
        *HANDLERS,
        *MAKING,
        *policy.SPLICING,
        *policy.LOOKED_AT,
        *policy.INVALIDATING,
    ]
    known = [name for name in names if name in numbers]
    traps = [(numbers[name], condition) for name in known for condition in policy.CONDITIONS.get(name, (None,))]
    refusals = [(numbers[name], errno) for name, errno in policy.REFUSED]
    return build_filter(machine.audit_arch, traps, refusals)


def serve(argv: Sequence[str], *, private: bool = False, tracing: Tracing | None = None) -> int:
    """Run a program and all its children on a kernel of their own; returns its exit status as a shell shows it.

    Unsupported: the host lacks what supervision needs. CannotExecute: there is no such program.
    """
    with launch(argv, trap_filter()) as launched:
        supervisor = Supervisor(launched.listener_fd, recorder=tracing)
        bridge = None if private else Bridge(supervisor.kernel, supervisor.watch)
        if bridge is not None:
            supervisor.attach(bridge)
        supervisor.watch.register(launched.signal_fd, select.EPOLLIN, lambda _: launched.on_signal())
        supervisor.watch.register(launched.status_fd, select.EPOLLIN, lambda _: status())

        def status() -> None:
            if launched.on_status():
                supervisor.watch.unregister(launched.status_fd)
                supervisor.stop()

        supervisor.run()
        while not launched.ended:
            select.select([launched.status_fd], [], [])
            launched.on_status()
        os.close(launched.listener_fd)
        if bridge is not None:
            supervisor.watch.unregister(launched.signal_fd)
            bridge.drain(launched.signal_fd)
        if launched.failure is not None:
            raise launched.failure
        return launched.exit_status()
