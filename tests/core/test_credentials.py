"""Who makes a call."""

from __future__ import annotations

from afunix.core.credentials import Credentials


class Number(int):
    """A process number that knows more than its value, as that of a process in a namespace does."""


def test_equal_numbers_are_not_mixed_up() -> None:
    """A number may be used again, for a process of another namespace: what is told of one is not told of the other."""
    for _ in range(2):
        pid = Number(7)
        credentials = Credentials(pid, uid=1, gid=2, euid=3, egid=4)
        assert credentials.real.pid is pid
        assert credentials.effective.pid is pid
        assert (credentials.real.uid, credentials.real.gid) == (1, 2)
        assert (credentials.effective.uid, credentials.effective.gid) == (3, 4)
