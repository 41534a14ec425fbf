"""Memory of real programs: every kind of page gives what the kernel gives to its own system calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from supervised import Call, Session, wait_until

from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.memory import Memory

Compile = Callable[[str], str]

REGIONS = """
#define SIZE (2UL << 20)
static char *map(int protection, int flags) {
    return mmap(NULL, SIZE, protection, MAP_ANONYMOUS | flags, -1, 0);
}
int main(void) {
    char *rw = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memset(rw, 'x', SIZE);
    char *ro = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memset(ro, 'r', SIZE);
    mprotect(ro, SIZE, PROT_READ);
    char *shared = map(PROT_READ | PROT_WRITE, MAP_SHARED);
    memset(shared, 's', SIZE);
    mprotect(shared, SIZE, PROT_READ);
    char *wo = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memset(wo, 'w', SIZE);
    mprotect(wo, SIZE, PROT_WRITE);
    char *fresh_wo = map(PROT_WRITE, MAP_PRIVATE);
    char *none = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memset(none, 'n', SIZE);
    mprotect(none, SIZE, PROT_NONE);
    char *hole = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memset(hole, 'h', SIZE);
    munmap(hole + SIZE / 2, SIZE / 2);
    char local;
    unsigned long regions[] = { (long)rw, (long)ro, (long)shared, (long)wo, (long)fresh_wo, (long)none, (long)hole,
                                ((long)&local & ~4095L) - (256 << 10) };
    tell(regions, sizeof regions);
    for (;;) {                                      /* the oracle: the same on a pipe, by the host's kernel */
        struct { unsigned long write, address, size; } wish;
        if (ask(&wish, sizeof wish) != sizeof wish) break;
        int ends[2];
        if (pipe(ends)) abort();
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
        long done;
        if (wish.write) {
            static char fill[1 << 20];
            if (write(ends[1], fill, wish.size) != (long)wish.size) abort();
            done = read(ends[0], (void *)wish.address, wish.size);
        } else
            done = write(ends[1], (void *)wish.address, wish.size);
        tell_number(done < 0 ? -errno : done);
        close(ends[0]);
        close(ends[1]);
    }
}
"""
NAMES = ("rw", "ro", "shared", "wo", "fresh_wo", "none", "hole", "stack")
SIZE = 2 << 20
HALF = SIZE // 2
PAGE = 4096


class Regions:
    """A program stopped in a call, and where its regions are."""

    def __init__(self, path: str) -> None:
        self.session = Session(path)
        call = self.session.next()
        data = call.data
        self.at = {name: int.from_bytes(data[8 * i : 8 * i + 8], "little") for i, name in enumerate(NAMES)}
        self.session.listener.answer(call.id, len(data))
        self.call: Call = self.session.next()
        self.memory = self.call.memory

    def native(self, write: bool, address: int, size: int) -> int:
        """What the host's kernel gives for the same transfer: its size, or -errno."""
        wish = b"".join(number.to_bytes(8, "little") for number in (int(write), address, size))
        self.memory.write(self.call.args[1], wish)
        self.session.listener.answer(self.call.id, len(wish))
        result = self.session.number()
        self.call = self.session.next()
        return result


@pytest.fixture
def regions(compile_c: Compile) -> Iterator[Regions]:
    regions = Regions(compile_c(REGIONS))
    with regions.session:
        yield regions


@pytest.mark.parametrize(
    "size", [0, 1, 8, 4095, 4096, 4097, (16 << 10) - 1, 16 << 10, 64 << 10, 256 << 10, (256 << 10) + 1, 2 << 20]
)
def test_what_is_written_is_read(regions: Regions, size: int) -> None:
    memory, address = regions.memory, regions.at["rw"]
    assert memory.read(address, size) == b"x" * size
    data = os.urandom(size)
    memory.write(address, data)
    assert memory.read(address, size) == data
    assert memory.read(address + size, 1) == b"x" if size < SIZE else True


def test_a_short_transfer_does_not_bring_back_an_earlier_one(regions: Regions) -> None:
    memory, address = regions.memory, regions.at["rw"]
    memory.write(address, b"a" * 1000)
    memory.write(address, b"b" * 10)
    assert memory.read(address, 12) == b"b" * 10 + b"aa"
    assert memory.read(address + 990, 20) == b"a" * 10 + b"x" * 10


def attempt(memory: Memory, write: bool, address: int, size: int) -> int:
    try:
        if write:
            memory.write(address, bytes(size))
        else:
            assert len(memory.read(address, size)) == size
    except SyscallError as error:
        return -error.errno
    return size


@pytest.mark.parametrize("size", [1, PAGE, 20_000, 300_000])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_protection_is_respected_as_by_the_kernel(regions: Regions, name: str, write: bool, size: int) -> None:
    address = regions.at[name]
    if name == "hole":
        address += HALF - size
    if name == "stack":
        # A second place for the oracle, as the first attempt maps the pages there.
        ours = attempt(regions.memory, write, address, size // 2)
        assert ours == size // 2
        assert regions.native(write, address - (300 << 10), size // 2) == ours
        return
    ours = attempt(regions.memory, write, address, size)
    assert ours == regions.native(write, address, size)
    assert ours == (-Errno.EFAULT if name == "none" or (write and name in ("ro", "shared")) else size)


@pytest.mark.parametrize("name", ["ro", "shared", "none"])
def test_what_may_not_be_written_is_not_written(regions: Regions, name: str) -> None:
    for size in (1, 20_000):
        assert attempt(regions.memory, True, regions.at[name], size) == -Errno.EFAULT
    with open(f"/proc/{regions.call.tid}/mem", "rb") as file:  # which looks past protection
        file.seek(regions.at[name])
        assert file.read(20_000) == name[:1].encode() * 20_000


@pytest.mark.parametrize("size", [2, PAGE, 20_000, 300_000])
@pytest.mark.parametrize("write", [False, True])
def test_a_range_that_ends_in_a_hole(regions: Regions, write: bool, size: int) -> None:
    """EFAULT here; the kernel's own calls may say how much they got, which is their business."""
    address = regions.at["hole"] + HALF - size // 2
    assert attempt(regions.memory, write, address, size) == -Errno.EFAULT
    assert attempt(regions.memory, write, address, size // 2) == size // 2


KERNEL = 0xFFFF_8000_0000_0000
TOP = 1 << 64


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    ("address", "size"),
    [
        (0, 1),
        (0, 20_000),
        (4096, 1),
        (0x7FFF_FFFF_F000, 1),
        (0x8000_0000_0000, 1),
        (KERNEL, 1),
        (KERNEL, 20_000),
        (0xFFFF_FFFF_FF60_0000, 8),  # the vsyscall page, which process_vm_readv can read
        (TOP - 1, 1),
        (TOP - 1, 2),
        (TOP - 4096, 8192),
        (TOP - 8, 300_000),
        (KERNEL, 0),
        (TOP - 1, 0),
        (TOP - 1, 1 << 40),
    ],
)
def test_addresses_that_are_no_memory(regions: Regions, write: bool, address: int, size: int) -> None:
    if write and size > 1 << 20:
        size = 1 << 20
    assert attempt(regions.memory, write, address, size) == -Errno.EFAULT
    if size <= 1 << 20:
        assert regions.native(write, address, size) == -Errno.EFAULT


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("address", [0, 4096, 0x7FFF_0000_0000])
def test_a_length_of_0_is_fine_at_any_user_address(regions: Regions, write: bool, address: int) -> None:
    assert attempt(regions.memory, write, address, 0) == 0


def test_ranges_are_read_as_one(regions: Regions) -> None:
    memory, at = regions.memory, regions.at
    ranges = [(at["rw"], 3), (0, 0), (at["ro"], 2), (at["hole"] + HALF - 1, 1)]
    assert memory.read_vec(ranges) == b"xxxrrh"
    assert memory.read_vec([]) == b""
    assert memory.read_vec([(at["rw"], 200_000), (at["ro"], 200_000)]) == b"x" * 200_000 + b"r" * 200_000
    assert memory.read_vec([(at["rw"], 1), (at["ro"], 1)] * 1000) == b"xr" * 1000
    assert memory.read_vec([(at["rw"], 1), (at["wo"], 2)]) == b"xww"


def test_data_is_spread_over_ranges(regions: Regions) -> None:
    memory, address = regions.memory, regions.at["rw"]
    memory.write_vec([(address, 3), (0, 0), (address + 10, 2), (address + 20, 5)], b"abcdefg")
    assert memory.read(address, 26) == b"abcxxxxxxxdexxxxxxxxfgxxxx"
    memory.write_vec([(address, 1)] * 1500, b"z" * 1500)
    memory.write_vec([(address + 5 * i, 1) for i in range(1500)], bytes(range(250)) * 6)
    assert memory.read(address, 7500)[::5] == bytes(range(250)) * 6
    memory.write_vec([], b"")
    memory.write_vec([(0, 8)], b"")
    with pytest.raises(ValueError, match="more data"):
        memory.write_vec([(address, 3)], b"abcd")


@pytest.mark.parametrize("count", [2, 1500])
def test_one_bad_range_is_efault(regions: Regions, count: int) -> None:
    memory, at = regions.memory, regions.at
    for bad in (0, at["none"], KERNEL, TOP - 1):
        ranges = [(at["rw"], 4)] * (count - 1) + [(bad, 4)]
        for transfer in (memory.read_vec, lambda r: memory.write_vec(r, bytes(4 * len(r)))):
            with pytest.raises(SyscallError) as caught:
                transfer(ranges)
            assert caught.value.errno is Errno.EFAULT
    with pytest.raises(SyscallError):
        memory.write_vec([(at["rw"], 1), (at["ro"], 1)], b"ab")


def test_strings(regions: Regions) -> None:
    memory, at = regions.memory, regions.at
    end = at["hole"] + HALF
    for length in (0, 1, 255, 256, 257, 4095):
        memory.write(end - length - 1, b"n" * length + b"\0")
        assert memory.read_cstring(end - length - 1, 4096) == b"n" * length
        assert memory.read_cstring(end - length - 1, length + 1) == b"n" * length
        with pytest.raises(SyscallError) as caught:
            memory.read_cstring(end - length - 1, length)
        assert caught.value.errno is Errno.ENAMETOOLONG
    memory.write(end - 3, b"abc")
    for address in (end - 3, end, 0, at["none"], KERNEL):
        with pytest.raises(SyscallError) as caught:
            memory.read_cstring(address, 4096)
        assert caught.value.errno is Errno.EFAULT
    memory.write(at["wo"] + 5, b"\0")
    assert memory.read_cstring(at["wo"], 4096) == b"wwwww"


def test_a_dead_thread_is_gone(regions: Regions) -> None:
    memory, at = regions.memory, regions.at
    os.kill(regions.session.launched.pid, signal.SIGKILL)
    wait_until(lambda: not regions.session.listener.valid(regions.call.id), "it does not die")
    for size in (1, 20_000, 300_000):
        with pytest.raises(Gone):
            memory.read(at["rw"], size)
        with pytest.raises(Gone):
            memory.write(at["rw"], bytes(size))
    with pytest.raises(Gone):
        memory.read_vec([(at["rw"], 1), (at["ro"], 1)])
    with pytest.raises(Gone):
        memory.write_vec([(at["rw"], 1), (at["ro"], 1)], b"ab")
    with pytest.raises(Gone):
        memory.read_cstring(at["rw"], 10)


def test_exec_and_vfork_do_not_leave_the_old_memory_behind(compile_c: Compile) -> None:
    """A vfork child has its parent's memory, and after execve its own, under the same number."""
    source = """
    static char text[16] = "parent";
    int main(int argc, char **argv) {
        if (argc > 1) { strcpy(text, "after"); tell_text(text); return 0; }
        pid_t child = vfork();
        if (!child) {
            strcpy(text, "child");
            tell_text(text);
            execl("/proc/self/exe", "program", "again", NULL);
            _exit(1);
        }
        tell_text(text);
        wait(NULL);
    }
    """
    with Session(compile_c(source)) as session:
        child = session.next()
        assert child.text == "child"
        session.listener.answer(child.id, 5)
        calls = {call.tid: call for call in (session.next(), session.next())}
        parent = calls.pop(session.launched.pid)
        (again,) = calls.values()
        assert again.tid == child.tid
        assert parent.text == "child"
        assert child.memory.read(again.args[1], 5) == b"after"
        assert again.text == "after"
        child.memory.write(again.args[1], b"AFTER")
        assert parent.text == "child"
        for call in (parent, again):
            session.listener.answer(call.id, call.args[2])
        assert session.finish() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may trace every process")
def test_a_process_that_lets_nobody_trace_it(compile_c: Compile) -> None:
    source = 'int main(void) { prctl(PR_SET_DUMPABLE, 0); tell_text("x"); }'
    with Session(compile_c(source)) as session:
        call = session.next()
        with pytest.raises(Inaccessible, match=f"thread {call.tid}"):
            call.memory.read(call.args[1], 1)
        with pytest.raises(Inaccessible):
            call.memory.write(call.args[1], b"y")
