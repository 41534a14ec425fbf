"""The conformance kit: what Linux does with Unix sockets, as facts, and as cases that run on any kernel.

A *fact* (`facts`) is one behaviour in one sentence. A *case* (`cases`) is a short program of system calls that shows
one or more facts. Cases speak to a *process* (`process`), which makes raw system calls on a *machine* (`machine`):

* `host`: the kernel below. Under `afunix run` that is afunix, so one kit tests both.
* `core`: the core alone, in memory, with a clock of its own.

`python -m afunix.conformance` runs them. A case is a decorated function:

    @case("CONN-3a", types=CONNECTED)
    def connect_to_a_full_listener(p: Process, kind: int) -> None:
        "It is EAGAIN, never EINPROGRESS."
        p.listener(kind, p.abstract(b"n"), 0)
        p.client(kind, p.abstract(b"n"))
        late = p.socket(kind | SOCK_NONBLOCK)
        assert p.connect(late, p.abstract(b"n")) == EAGAIN

* It begins with `from afunix.conformance.kit import *`, in a module of `cases`; modules are found by themselves.
* It gets a process, then with `types` (`ALL`, `CONNECTED`, `RECORDS`) the socket type, then one value of `each`.
* A result is a value or an `Error`: compare with `==`. Nothing raises. `p.recv` gives bytes; `p.recvmsg` a `Message`
  with `data`, `control`, `flags`, `address`, `rights`, `creds`.
* Arguments may be malformed: `p.call("bind", fd, BAD, 9)` makes a raw call, `p.put(b"...")` places bytes in the
  process's memory.
* Names: `p.abstract(b"n")` is nobody else's; a path such as `b"s"` lies in an empty directory that is the current one.
* Calls that block: `w = p.begin(p.recv, fd)`; then `w.blocks`, `w.interrupt()`, `w.result`.
* More processes: `p.fork()` has the same descriptors, `p.process()` none of them; `child.die()` ends one.
* Bounds are said, not tested in the body: `since=(6, 16)`, `until=(6, 9)`, `needs="CAP_SETUID"` (or several). A case
  that does not apply is reported with the reason.
* Descriptors 0 to 2 are open, so the first that a case makes is 3. SIGPIPE is caught: `p.signals()` tells.

A failure prints the line and all calls of the case with their results.
"""
