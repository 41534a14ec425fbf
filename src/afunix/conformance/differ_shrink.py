"""Makes a program that shows a difference as small as possible: fewer steps, then simpler ones.

Delta debugging over the list of steps (ddmin), which works because steps name descriptors by handles: what is left
keeps its meaning. Then each argument is replaced by the plainest value that still shows the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from afunix.conformance.differ_steps import Step

__all__ = ["shrink"]

Fails = Callable[[Sequence[Step]], bool]


def shrink(steps: Sequence[Step], fails: Fails, attempts: int = 3000) -> list[Step]:
    """The smallest program found that still fails; `fails` is asked at most about `attempts` times."""
    left = [attempts]

    def ask(candidate: Sequence[Step]) -> bool:
        left[0] -= 1
        return left[0] > 0 and fails(candidate)

    found = list(steps)
    while left[0] > 0:
        smaller = _simpler(_fewer(found, ask), ask)
        if smaller == found:
            break
        found = smaller
    return found


def _fewer(steps: list[Step], fails: Fails) -> list[Step]:
    """Leave out as many steps as can be, first in large pieces."""
    size = max(1, len(steps) // 2)
    while True:
        at = 0
        while at < len(steps):
            candidate = steps[:at] + steps[at + size :]
            if candidate and fails(candidate):
                steps = candidate
            else:
                at += size
        if size == 1:
            return steps
        size //= 2


def _simpler(steps: list[Step], fails: Fails) -> list[Step]:
    """Replace each step by a plainer one, where that does."""
    for at in range(len(steps)):
        progress = True
        while progress:
            progress = False
            for plainer in _plainer_steps(steps[at]):
                candidate = [*steps[:at], plainer, *steps[at + 1 :]]
                if fails(candidate):
                    steps = candidate
                    progress = True
                    break
    return steps


def _plainer_steps(step: Step) -> Iterator[Step]:
    if step.process:
        yield step._replace(process=0)
    if step.spoil:
        yield step._replace(spoil=())
    # The first argument is the handle, on which the meaning of the whole program hangs.
    for at, value in enumerate(step.args[1:], 1):
        for plainer in _plainer(value):
            yield step._replace(args=(*step.args[:at], plainer, *step.args[at + 1 :]))


def _plainer(value: object) -> Iterator[object]:
    """Plainer values in place of one, the plainest first; never the value itself."""
    if isinstance(value, tuple):
        named = bool(value) and isinstance(value[0], str)
        if named and len(value) == 2:  # an address
            if value[0] not in ("none", "abstract"):
                yield "none", None
                yield "abstract", b"1"
            return
        if named and value[0] not in ("rights", "copies"):  # another control message: only its length can be plainer
            if value[2]:
                yield (*value[:2], 0)
            return
        for at in range(len(value)):
            if not named:
                yield value[:at] + value[at + 1 :]
        for at, item in enumerate(value):
            for plainer in _plainer(item):
                yield (*value[:at], plainer, *value[at + 1 :])
    elif isinstance(value, int) and not isinstance(value, bool):
        for plainer in (0, 1, value // 2 if value > 3 else 0, value - 1 if 0 < value < 20 else 0):
            if abs(plainer) < abs(value):
                yield plainer
