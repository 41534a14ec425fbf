"""Names of sockets: what programs do with them in os, pathlib and shutil is the same natively and under a patch."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import afunix
from afunix.inproc.leaks import LeakCheck

KINDS = {
    "native": contextlib.nullcontext,
    "private": afunix.patch,
    "host": lambda: afunix.patch(afunix.Kernel(filesystem="host")),
}


def bound(path: Any) -> None:
    """A name, whose socket is gone."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(path))


def told(operation: Callable[[], Any], directory: Path) -> Any:
    """What it returns, or the exception as far as it can be the same."""
    try:
        result = operation()
    except OSError as error:
        names = [str(name).replace(str(directory), "D") for name in (error.filename, error.filename2) if name]
        return type(error).__name__, error.errno, *names
    return str(result).replace(str(directory), "D") if isinstance(result, os.PathLike) else result


def links(path: Path) -> int:
    return os.lstat(path).st_nlink


def mode(path: Any, **options: Any) -> str:
    return stat.filemode(os.stat(path, **options).st_mode)


Steps = Iterator[Callable[[], Any]]


def looking(d: Path) -> Steps:
    bound(d / "s")
    (d / "file").write_text("x")
    (d / "link").symlink_to("s")
    for path in (d / "s", d / "link", d / "missing", d / "file" / "s", d / "s" / "x", d / "s/"):
        yield lambda path=path: (path.exists(), path.is_socket(), path.is_file(), path.is_dir(), path.is_symlink())  # type: ignore[misc]
        yield lambda path=path: mode(path)  # type: ignore[misc]
        yield lambda path=path: stat.filemode(os.lstat(path).st_mode)  # type: ignore[misc]
        yield lambda path=path: os.readlink(path)  # type: ignore[misc]
        yield lambda path=path: (os.access(path, os.F_OK), os.access(path, os.R_OK), os.access(path, os.X_OK))  # type: ignore[misc]
        yield lambda path=path: os.path.lexists(path)  # type: ignore[misc]
        yield lambda path=path: os.open(path, os.O_RDONLY)  # type: ignore[misc]
        yield lambda path=path: os.listdir(path)  # type: ignore[misc]
        yield lambda path=path: os.truncate(path, 0) if path.is_socket() else None  # type: ignore[misc]
        yield lambda path=path: path.resolve()  # type: ignore[misc]
    yield lambda: os.open(d / "s", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    yield lambda: os.open(d / "s", os.O_CREAT | os.O_WRONLY)
    yield lambda: os.path.samefile(d / "s", d / "link")
    yield lambda: os.path.samefile(d / "s", d / "file")
    yield lambda: os.path.getsize(d / "s")
    yield lambda: abs(os.path.getmtime(d / "s") - os.path.getmtime(d / "file")) < 60
    yield lambda: (os.stat(os.fsencode(d / "s")).st_uid, os.stat(d / "s").st_gid, links(d / "s"))


def directories(d: Path) -> Steps:
    bound(d / "s")
    (d / "sub").mkdir()
    bound(d / "sub" / "t")
    (d / "sub" / "file").write_text("x")

    def scanned(path: Any) -> list[tuple[Any, ...]]:
        with os.scandir(path) as entries:
            return sorted(
                (e.name, e.is_dir(), e.is_file(), e.is_symlink(), stat.S_ISSOCK(e.stat(follow_symlinks=False).st_mode))
                for e in entries
            )

    yield lambda: sorted(os.listdir(d))
    yield lambda: sorted(os.listdir(os.fsencode(d / "sub")))
    yield lambda: scanned(d)
    yield lambda: scanned(str(d / "sub"))
    yield lambda: scanned(os.fsencode(d))[0][0]
    yield lambda: [(Path(top).name, sorted(dirs), sorted(files)) for top, dirs, files in os.walk(d / "sub")]
    yield lambda: sorted(Path(found).name for found in glob.glob(str(d / "*" / "**"), recursive=True))
    yield lambda: sorted(path.name for path in d.rglob("*"))
    yield lambda: sorted(entry.path.replace(str(d), "D") for entry in os.scandir(d))
    yield (d / "sub").rmdir
    yield lambda: os.mkdir(d / "s")
    yield lambda: os.rmdir(d / "s")
    yield lambda: os.mkfifo(d / "s")
    yield lambda: os.symlink("x", d / "s")
    yield lambda: (d / "sub").rename(d / "moved")
    yield lambda: sorted(os.listdir(d / "moved"))
    yield lambda: ((d / "sub" / "t").exists(), mode(d / "moved" / "t"))
    yield lambda: shutil.rmtree(d / "moved")
    yield (d / "moved").mkdir
    yield lambda: os.listdir(d / "moved")
    yield lambda: os.chdir(d)
    yield lambda: (sorted(os.listdir()), mode("s"), os.path.abspath("s").replace(str(d), "D"))
    yield lambda: os.chdir("/")


def by_descriptor(d: Path) -> Steps:
    (d / "sub").mkdir()
    bound(d / "sub" / "s")
    fd = os.open(d / "sub", os.O_RDONLY)
    yield lambda: os.listdir(fd)
    yield lambda: [entry.name for entry in os.scandir(fd)]
    yield lambda: mode("s", dir_fd=fd)
    yield lambda: mode("missing", dir_fd=fd)
    yield lambda: os.chmod("s", 0o640, dir_fd=fd)
    yield lambda: mode(d / "sub" / "s")
    yield lambda: os.rename("s", "t", src_dir_fd=fd, dst_dir_fd=fd)
    yield lambda: os.access("t", os.W_OK, dir_fd=fd)
    yield lambda: os.link("t", "u", src_dir_fd=fd, dst_dir_fd=fd)
    yield lambda: os.unlink("t", dir_fd=fd)
    yield lambda: os.listdir(d / "sub")
    yield lambda: os.unlink("u", dir_fd=fd)
    yield lambda: os.listdir(fd)
    yield lambda: os.stat in os.supports_dir_fd and os.unlink in os.supports_dir_fd and os.scandir in os.supports_fd
    yield lambda: os.close(fd)


def changing(d: Path) -> Steps:
    bound(d / "s")
    (d / "file").write_text("x")
    (d / "sub").mkdir()
    yield lambda: os.chmod(d / "s", 0o600)
    yield lambda: mode(d / "s")
    yield lambda: os.chown(d / "s", 12, 34) if os.getuid() == 0 else None
    yield lambda: os.lchown(d / "s", -1, -1)
    yield lambda: os.utime(d / "s", (1, 2))
    yield lambda: (os.stat(d / "s").st_atime, os.stat(d / "s").st_mtime_ns)
    yield lambda: os.utime(d / "s", ns=(3, 4))
    yield lambda: (os.stat(d / "s").st_atime_ns, os.stat(d / "s").st_mtime_ns)
    yield lambda: os.link(d / "s", d / "hard")
    yield lambda: links(d / "s")
    yield lambda: os.link(d / "s", d / "file")
    yield lambda: os.link(d / "file", d / "s")
    yield lambda: os.rename(d / "s", d / "sub")
    yield lambda: os.rename(d / "sub", d / "s")
    yield lambda: os.rename(d / "s", d / "missing" / "s")
    yield lambda: os.rename(d / "missing", d / "s")
    yield lambda: os.replace(d / "s", d / "file")
    yield lambda: (sorted(os.listdir(d)), mode(d / "file"))
    yield lambda: (d / "new").write_text("y")
    yield lambda: os.replace(d / "new", d / "file")
    yield lambda: (sorted(os.listdir(d)), mode(d / "file"), (d / "file").read_text())
    yield lambda: links(d / "hard")
    yield lambda: os.rename(d / "hard", d / "sub" / "s")
    yield lambda: os.unlink(d / "hard")
    yield lambda: os.unlink(d / "sub" / "s" / "x")
    yield (d / "sub" / "s").unlink
    yield lambda: (d / "sub" / "s").unlink(missing_ok=True)
    yield lambda: os.remove(d / "sub")
    yield lambda: os.rmdir(d / "sub")


def connecting(d: Path) -> Steps:
    listener = socket.socket(socket.AF_UNIX)
    client, other = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    (d / "file").write_text("x")
    (d / "one").mkdir()
    (d / "two").mkdir()
    (d / "current").symlink_to("one")
    yield lambda: listener.bind(str(d / "file"))
    yield lambda: listener.bind(str(d / "file" / "s"))
    yield lambda: listener.bind(str(d / "missing" / "s"))
    yield lambda: listener.bind(str(d / "one" / "s"))
    yield listener.listen
    yield lambda: os.symlink("one/s", d / "link")
    yield lambda: client.connect(str(d / "link"))
    yield lambda: (client.getpeername() == str(d / "one" / "s"), listener.accept()[0].close())
    yield lambda: other.connect(str(d / "file"))
    yield lambda: other.connect(str(d / "file" / "s"))
    yield lambda: other.connect(str(d / "one"))
    yield lambda: os.rename(d / "one" / "s", d / "two" / "s")
    yield lambda: other.connect(str(d / "current" / "s"))
    yield lambda: os.unlink(d / "current")
    yield lambda: os.symlink("two", d / "current")
    yield lambda: other.connect(str(d / "current" / "s"))
    yield lambda: [listener.accept()[0].close()]
    yield other.close
    yield lambda: os.unlink(d / "two" / "s")
    bound(d / "two" / "s")
    late = socket.socket(socket.AF_UNIX)
    yield lambda: late.connect(str(d / "two" / "s"))
    for sock in (listener, client, late):
        sock.close()


@pytest.mark.parametrize("script", [looking, directories, by_descriptor, changing, connecting])
@pytest.mark.parametrize("kind", ["private", "host"])
def test_as_natively(script: Callable[[Path], Steps], kind: str, tmp_path: Path) -> None:
    """Step by step the same results, and the same errors with the same names in them."""
    results = []
    for name in ("native", kind):
        directory = tmp_path / name
        directory.mkdir()
        with KINDS[name]():
            results.append([told(operation, directory) for operation in script(directory)])
    assert results[1] == results[0]
    assert len(results[0]) > 10


def test_nothing_is_left_on_the_host(tmp_path: Path) -> None:
    """Private names are nowhere but in the kernel; a directory that is removed takes them along."""
    with afunix.patch() as kernel:
        with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
            bound(Path(directory) / "s")
            assert os.listdir(directory) == ["s"]
            again = Path(directory)
        assert not again.exists()
        again.mkdir()
        assert os.listdir(again) == []
        assert list(kernel.namespace.times) == []  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == [again]


def test_long_paths(tmp_path: Path) -> None:
    """As long as a file's may be; with path_max as long as Linux's sockaddr_un has room for."""
    path = tmp_path / ("d" * 200) / ("s" * 200)
    path.parent.mkdir()
    with afunix.patch(), socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as sock:
        listener.bind(str(path))
        listener.listen()
        sock.connect(str(path))
        assert sock.getpeername() == str(path)
        assert path.is_socket()
        with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError, match="File name too long"):
            other.bind(str(tmp_path / ("s" * 256)))
        with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError, match="AF_UNIX path too long"):
            other.bind("/" + "d/" * 2048)
    kernel = afunix.Kernel(path_max=108)
    with afunix.patch(kernel), socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(OSError, match="AF_UNIX path too long"):
            sock.bind("/tmp/" + 103 * "x")
        with pytest.raises(OSError, match="Invalid argument"):
            kernel.main.syscalls.bind(kernel.main.syscalls.socket(), b"/tmp/" + 103 * b"x")
        sock.bind("/tmp/" + 102 * "x")


def test_names_on_the_host(tmp_path: Path) -> None:
    """They are real inodes, seen by everybody, kept from reuse while bound, and left when the socket is gone."""
    with afunix.patch(afunix.Kernel(filesystem="host")) as kernel:
        path = tmp_path / "s"
        one = socket.socket(socket.AF_UNIX)
        one.bind(str(path))
        one.listen()
        with kernel.process(umask=0o077) as private, private.socket() as sock:
            sock.bind(str(tmp_path / "t"))
            assert stat.S_IMODE(os.stat(tmp_path / "t").st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            one.accept()[0].close()  # which has the name, too, but is not the last to have it
        path.unlink()
        for number in range(20):
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(tmp_path / str(number)))
                with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
                    client.connect(str(tmp_path / str(number)))
            os.unlink(tmp_path / str(number))
        one.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t").is_socket()
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(str(tmp_path / "t"))


def test_names_left_on_the_host(tmp_path: Path) -> None:
    """The leak check finds those that are still there."""
    kernel = afunix.Kernel(filesystem="host")
    with LeakCheck() as check, afunix.patch(kernel):
        for name in ("left", "gone", "moved"):
            bound(tmp_path / name)
        os.unlink(tmp_path / "gone")
        os.rename(tmp_path / "moved", tmp_path / "elsewhere")
        (leak,) = check.leaks(kernel)
    assert leak.what == f"the name {tmp_path / 'left'}"
    assert "in bound: sock.bind" in leak.made[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files to simulated users")
def test_owners_on_the_host(tmp_path: Path) -> None:
    """A simulated process's ids own the name, and need the permission to connect to it."""
    kernel = afunix.Kernel(filesystem="host")
    with kernel.process(uid=1000, gid=100) as server, kernel.process(uid=1001) as client:
        listener, sock = server.socket(), client.socket()
        with listener, sock:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            status = os.stat(tmp_path / "s")
            assert (status.st_uid, status.st_gid) == (1000, 100)
            with pytest.raises(PermissionError):
                sock.connect(str(tmp_path / "s"))
            os.chmod(tmp_path / "s", 0o777)
            sock.connect(str(tmp_path / "s"))
    with pytest.raises(AttributeError, match="host's filesystem"):
        _ = kernel.filesystem
