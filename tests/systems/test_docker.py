"""Docker: containerd and dockerd, containers with pipes, terminals and exec, a socket shared with a container, and ctr.

Everything in it talks over Unix sockets: the client's HTTP, gRPC of dockerd to containerd, ttrpc of containerd to the
shims, the terminal that runc passes to its shim, and the descriptors of a shim that starts with its socket open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import Scenario, placements

SYSTEM = "Docker"
VERSION = "dockerd --version | sed 's/.*version \\([^,]*\\),.*/\\1/'"
PACKAGES = ("docker.io", "containerd", "runc", "busybox-static", "curl", "jq", "gcc", "libc6-dev")

PROGRAMS = Path(__file__).parent / "programs"

TOOLS = r"""
    export DOCKER_HOST="unix://$DIR/docker.sock" DOCKER_BUILDKIT=0
    docker() { /usr/bin/docker "$@"; } # of the package
    base() { # TARGET: a tree that is enough for a container
        mkdir -p "$1/bin"
        cp /bin/busybox "$1/bin/"
        for name in sh echo cat sleep id tty true false stat; do ln -sf busybox "$1/bin/$name"; done
    }
"""

DAEMON = (
    TOOLS
    + r"""
    start dockerd dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs \
        --data-root "$DIR/data" --exec-root "$DIR/exec" --pidfile "$DIR/docker.pid" --host "unix://$DIR/docker.sock"
    until_ok docker version
"""
)

IMPORT = (
    TOOLS
    + r"""
    base tree
    tar -C tree -c . | docker import - base:1
"""
)

IDS = (r"\b(sha256:)?[0-9a-f]{64}\b", "ID")

ASKING = Scenario(
    name="version, info and import, by client and by curl",
    server=DAEMON,
    steps=IMPORT
    + r"""
    docker version --format 'client {{.Client.Os}}, server {{.Server.Version}}'
    docker info --format '{{.Driver}} {{.CgroupDriver}} {{.Images}} {{.Containers}} {{.DefaultRuntime}}'
    docker images --format '{{.Repository}}:{{.Tag}}'
    docker save base:1 | tar -t | grep -c layer.tar
    curl -sS --unix-socket docker.sock http://localhost/_ping; echo
    curl -sS --unix-socket docker.sock http://localhost/images/json | jq -r '.[].RepoTags[]'
    docker inspect nothing 2>&1 || echo "status $?"
    """,
    shows=["^ID$", "^client linux, server", "^vfs cgroupfs 1 0 runc", "^base:1$", "^OK$", "^status 1$"],
    varies=[IDS],
    timeout=60,
)

CONTAINERS = Scenario(
    name="run, its status, attached pipes, a terminal, exec and logs -f",
    server=DAEMON,
    steps=IMPORT
    + r"""
    run() { docker run --network=none "$@"; }
    run --rm base:1 echo hello
    run --rm base:1 sh -c 'echo out; echo err >&2; exit 7' 2>err || echo "status $?"; cat err
    seq 1 20000 | run --rm -i base:1 cat | md5sum
    run --rm -t base:1 sh -c 'tty; stat -c %t /dev/console'
    run -d --name counter base:1 sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done'
    docker logs -f counter
    docker wait counter
    run -d --name waiter base:1 sleep 1000
    docker exec waiter sh -c 'echo in $(id -u); exit 3' || echo "status $?"
    echo through | docker exec -i waiter cat
    docker exec -t waiter tty
    docker top waiter -eo pid,args | sed 's/^[0-9]\+ */N /'
    docker cp waiter:/bin/busybox copy && cmp copy /bin/busybox && echo copied
    docker pause waiter; docker ps --format '{{.Names}} {{.Status}}' | sed 's/Up .* (/Up (/'; docker unpause waiter
    docker kill -s KILL waiter; docker wait waiter
    docker rm counter waiter
    """,
    shows=[
        "^hello",
        "^err",
        "^status 7",
        "^/dev/pts/0",
        "^line 5",
        "^in 0",
        "^status 3",
        "^through",
        "^copied",
        "^137",
    ],
    varies=[IDS],
    timeout=90,
)

EVENTS = Scenario(
    name="events while containers and an image are made and go, and a build",
    long=True,
    server=DAEMON,
    steps=IMPORT
    + r"""
    start events /usr/bin/docker events --format '{{.Type}} {{.Action}}'
    until_ok sh -c '/usr/bin/docker tag base:1 seen:1 && grep -q "image tag" events.log' # events come from now on
    docker run --rm --network=none --name short base:1 true
    printf 'FROM base:1\nRUN ["/bin/sh", "-c", "echo built > /built"]\nCMD ["cat", "/built"]\n' >Dockerfile
    docker build -q --network=none -t built:1 -f Dockerfile tree
    docker run --rm --network=none built:1
    docker rmi -f built:1 >removed
    until_ok grep -q 'image delete' events.log
    finish events
    grep -v 'image tag\|network' events.log | sort | uniq -c
    """,
    shows=["^ID$", "^built$", "container die", "container destroy", "image delete"],
    varies=[IDS],
    timeout=60,
)

SHARED_SOCKET = Scenario(
    name="a socket shared with a container, both ways, with credentials and a descriptor",
    long=True,
    server=DAEMON,
    steps=IMPORT
    + rf"""
    cc -static -Wall -o tree/bin/peers {PROGRAMS}/peers.c
    tar -C tree -c . | docker import - peers:1
    mkdir shared
    """
    + r"""
    start outside tree/bin/peers listen shared/outside
    until_ok test -S shared/outside
    docker run --rm --network=none -v "$DIR/shared:/shared" peers:1 peers connect /shared/outside
    chmod 666 shared/outside
    docker run --rm --network=none --user 4242:4343 -v "$DIR/shared:/shared" peers:1 peers connect /shared/outside
    finish outside
    echo "--- the listener outside"; cat outside.log
    docker run -d --name inside --network=none -v "$DIR/shared:/shared" peers:1 peers listen /shared/inside
    until_ok test -S shared/inside
    tree/bin/peers connect shared/inside
    docker exec inside peers connect /shared/inside
    docker wait inside
    echo "--- the listener inside"; docker logs inside; docker rm inside
    """,
    shows=["^peer: process 0, user 0", "^sender: process seen, user 4242, group 4343", "^file: of the server"],
    varies=[IDS],
    timeout=60,
)

CONTAINERD = Scenario(
    name="containerd alone, by ctr",
    long=True,
    server=r"""
    cat >config.toml <<END
version = 2
root = "$DIR/root"
state = "$DIR/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$DIR/containerd.sock"
END
    start containerd containerd --config config.toml
    until_ok ctr --address containerd.sock version
    """,
    steps=TOOLS
    + r"""
    ctr() { /usr/bin/ctr --address "$DIR/containerd.sock" "$@"; }
    base rootfs
    ctr version | grep -A1 Server | tail -1
    ctr namespaces list -q
    run() { ctr run --runc-root "$DIR/runc" --rootfs "$@"; }
    run --rm "$DIR/rootfs" first /bin/echo hello
    run --rm "$DIR/rootfs" second /bin/sh -c 'read -r line; echo "$line"; exit 5' <<<through || echo "status $?"
    run -d "$DIR/rootfs" third /bin/sleep 1000
    ctr tasks exec --exec-id e1 third /bin/sh -c 'echo in $$; sleep 0.3' | sed 's/[0-9]\+/N/'
    ctr tasks list | awk '{print $1, $3}'
    ctr tasks kill -s KILL third
    until_ok sh -c "/usr/bin/ctr --address $DIR/containerd.sock tasks list | grep -q 'third.*STOPPED'"
    ctr tasks delete third || echo "status $?"
    ctr containers delete third
    ctr containers list -q
    """,
    shows=["^hello", "^through", "^status 5", "^in N", "^third RUNNING"],
    timeout=60,
)


@placements([ASKING, CONTAINERS, EVENTS, SHARED_SOCKET, CONTAINERD])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(ASKING, ["bind", "listen", "connect", "accept4", "read", "write"])
