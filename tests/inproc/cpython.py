"""Runs CPython's own tests, those of the installed Python, with the drop-in in force.

    python tests/inproc/cpython.py [suite ...] [-k PATTERN] [-v]

A suite is one of `SUITES`, all of them unless told. What is left out stands in `EXCLUDED`, with why it can't apply. The
exit status is 0 if all others passed. What skips itself is told, too. On Debian the tests are in libpython3-testsuite.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import multiprocessing.connection
import os
import sys
import unittest
from collections.abc import Iterator
from multiprocessing import dummy

import afunix

SUITES = {
    "test.test_socket": (
        *("SendmsgUnixStreamTest", "RecvmsgUnixStreamTest", "RecvmsgIntoUnixStreamTest", "RecvmsgSCMRightsStreamTest"),
        *("RecvmsgIntoSCMRightsStreamTest", "BasicSocketPairTest", "TestLinuxAbstractNamespace", "TestUnixDomain"),
        *("SendRecvFdsTests", "CmsgMacroTests", "GeneralModuleTests", "NonblockConstantTest", "InheritanceTest"),
        *("ContextManagersTest", "FileObjectClassTestCase", "NonBlockingTCPTests", "SendfileUsingSendTest"),
        *("SendfileUsingSendfileTest", "CreateServerTest", "TCPTimeoutTest", "BasicTCPTest", "BufferIOTest"),
    ),
    "test.test_asyncio.test_unix_events": ("*",),
    "test.test_asyncio.test_events": ("EPollEventLoopTests", "PollEventLoopTests", "HandleTests"),
    "test.test_asyncio.test_sock_lowlevel": ("*",),
    "test.test_asyncio.test_streams": ("*",),
    "test.test_asyncio.test_server": ("*",),
    "test.test_selectors": ("*",),
    "test.test_select": ("*",),
    "test.test_poll": ("*",),
    "test.test_epoll": ("*",),
    "test.test_socketserver": ("*",),
    "test._test_multiprocessing": ("TestListener", "TestListenerClient", "TestConnection", "TestPoll"),
}
"""Test classes by module."""

THREADED = "test._test_multiprocessing"
"""Its base classes are run as they are, with threads for the other processes, which would have kernels of their own."""

EXCLUDED: dict[str, str] = {
    "*.SocketServerTest.test_ForkingUnix*": "a forked process has its own copy of the kernel, not the same sockets",
    "*.StreamTests.test_open_unix_connection_no_loop_ssl": "ssl.SSLSocket wraps host descriptors only",
    "*EventLoopTests.test_create_ssl_unix_connection": "ssl.SSLSocket wraps host descriptors only",
    "*EventLoopTests.test_write_pipe_disconnect_on_close": "io.open makes a file of a host descriptor only",
    "*.TestConnection.test_spawn_close": "a thread has no copies of the descriptors that its starter closes",
    "*.TestConnection.test_large_fd_transfer": "os.dup2 can't give a virtual descriptor a number of the host's",
}
"""By pattern of the test's name, module and all: why it can't apply."""


def tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests(test)
        else:
            yield test


class Process(dummy.Process):
    """A thread that says that it is a process."""

    pid = property(lambda self: os.getpid())


class Threaded:
    """What the base classes of the tests of multiprocessing need."""

    TYPE = "processes"
    Process = Process
    Pipe = staticmethod(multiprocessing.Pipe)
    connection = multiprocessing.connection


def loaded(name: str) -> unittest.TestSuite:
    """The tests of a module."""
    module = importlib.import_module(name)
    if name != THREADED:
        return unittest.defaultTestLoader.loadTestsFromModule(module)
    found = unittest.TestSuite()
    for kind in SUITES[name]:
        base = getattr(module, f"_{kind}")
        threaded = type(kind, (base, Threaded, unittest.TestCase), {"__module__": name})
        found.addTest(unittest.defaultTestLoader.loadTestsFromTestCase(threaded))
    return found


def reason(name: str) -> str | None:
    return next((why for pattern, why in EXCLUDED.items() if fnmatch.fnmatchcase(name, pattern)), None)


def chosen(suites: list[str]) -> unittest.TestSuite:
    """The tests of these modules that apply."""
    found = unittest.TestSuite()
    for name in suites:
        for test in tests(loaded(name)):
            if any(fnmatch.fnmatchcase(type(test).__name__, pattern) for pattern in SUITES[name]):
                why = reason(test.id())
                if why is None:
                    found.addTest(test)
                else:
                    print(f"left out: {test.id()}: {why}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suites", nargs="*", default=list(SUITES), metavar="suite")
    parser.add_argument("-k", dest="pattern", help="only tests whose names match")
    parser.add_argument("-v", dest="verbose", action="store_true")
    arguments = parser.parse_args()
    with afunix.patch():
        suite = chosen([name if name.startswith("test.") else f"test.{name}" for name in arguments.suites])
        if arguments.pattern:
            suite = unittest.TestSuite(test for test in tests(suite) if fnmatch.fnmatch(test.id(), arguments.pattern))
        result = unittest.TextTestRunner(verbosity=2 if arguments.verbose else 1).run(suite)
        for skipped, why in result.skipped:
            print(f"skipped: {skipped.id()}: {why}")
        print(f"run: {result.testsRun - len(result.skipped)}")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
