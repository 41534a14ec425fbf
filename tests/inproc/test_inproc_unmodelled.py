"""What is not modelled in process says so, and has changed nothing."""

from __future__ import annotations

import pytest

import afunix
from afunix.abi.constants import SO_PASSPIDFD, SO_PEERPIDFD, SOL_SOCKET
from afunix.core.errors import Unmodelled


def test_pidfds(kernel: afunix.Kernel) -> None:
    """Simulated processes have no pidfds: SO_PEERPIDFD and SCM_PIDFD are refused, and the message stays."""
    with kernel.process() as process:
        one, two = process.socketpair()
        with one, two:
            with pytest.raises(Unmodelled):
                one.getsockopt(SOL_SOCKET, SO_PEERPIDFD)
            two.setsockopt(SOL_SOCKET, SO_PASSPIDFD, 1)
            one.send(b"data")
            with pytest.raises(Unmodelled):
                two.recvmsg(10, 100)
            two.setsockopt(SOL_SOCKET, SO_PASSPIDFD, 0)
            assert two.recv(10) == b"data"
