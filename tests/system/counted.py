"""`afunix run` that counts what goes the short way of supervisor/quick.py: python counted.py FILE run -- PROGRAM…

When the run has ended, FILE has the counts by name, as JSON: reads that `waited`, those of them that were `handed` data
by the write they waited for, reads that `took` what was queued, writes that were `put` there (handed over or queued),
and data that were `returned` because the read could not have them. What is of one byte is not counted: programs warm up
with that.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afunix.cli.main import main
from afunix.core.message import Received
from afunix.supervisor import quick

counts: Counter[str] = Counter()


def counting(name: str, function: Callable[..., Any], counts_if: Callable[..., object]) -> Callable[..., Any]:
    """The function, with a count of its calls: those whose result and arguments are such."""

    def counted(*args: Any) -> Any:
        result = function(*args)
        if counts_if(result, *args):
            counts[name] += 1
        return result

    return counted


class CountedRead(quick.WaitingRead):
    """A waiting read that is counted."""

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        counts["waited"] += self.size > 1

    def go_on(self) -> None:
        """Go on, with data or without."""
        counts["handed"] += self.data is not None and self.size > 1
        super().go_on()


if __name__ == "__main__":
    quick.WaitingRead = CountedRead  # type: ignore[misc]
    quick.put = counting("put", quick.put, lambda size, *_: size > 1)
    quick.receive = counting("took", quick.receive, lambda got, _, size: isinstance(got, Received) and size > 1)
    quick.hand_back = counting("returned", quick.hand_back, lambda _, sock, data: len(data) > 1)
    file, *sys.argv[1:] = sys.argv[1:]
    try:
        sys.exit(main())
    finally:
        Path(file).write_text(json.dumps(+counts))
