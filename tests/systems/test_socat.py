"""socat in all its Unix modes, and netcat: streams, datagrams, packets, paths and abstract names, ends of file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "socat, netcat"
VERSION = "echo $(socat -V | sed -n '2s/[^0-9]*\\([0-9.]*\\).*/\\1/p'), $(dpkg-query -W -f '${Version}' netcat-openbsd)"
PACKAGES = ("socat", "netcat-openbsd")

STREAMS_SERVER = r"""
    name=${DIR##*/}
    start path socat UNIX-LISTEN:p,fork,mode=600 EXEC:'tr a-z A-Z'
    start abstract socat "ABSTRACT-LISTEN:$name,fork" PIPE
    start loose socat "ABSTRACT-LISTEN:$name,unix-tightsocklen=0,fork" EXEC:'rev'
    start packets socat UNIX-LISTEN:q,fork,type=5,prototype=0 PIPE
    until_ok test -S p -a -S q
"""

STREAMS = Scenario(
    name="UNIX-LISTEN, UNIX-CONNECT, ABSTRACT-LISTEN, ABSTRACT-CONNECT, UNIX-CLIENT: streams and packets",
    server=STREAMS_SERVER,
    steps=r"""
        name=${DIR##*/}
        until_ok socat -u /dev/null "ABSTRACT-CONNECT:$name"
        stat -c '%n %F %a' p q
        echo 'to a path' | socat -t 5 - UNIX-CONNECT:p
        echo 'to an abstract name' | socat -t 5 - "ABSTRACT-CONNECT:$name"
        echo 'to another abstract name' | socat -t 5 - "ABSTRACT-CONNECT:$name,unix-tightsocklen=0"
        echo 'by whichever works' | socat -t 5 - UNIX-CLIENT:p
        echo 'by whichever works' | socat -t 5 - "ABSTRACT-CLIENT:$name"
        echo 'packets' | socat -t 1 - UNIX-CONNECT:q,type=5
        echo 'from a name' | socat -t 5 - UNIX-CONNECT:p,bind=mine
        test -e mine || echo 'its name is gone'
        head -c 3000000 /dev/zero | socat -t 10 - "ABSTRACT-CONNECT:$name" | wc -c
        echo nobody | socat - UNIX-CONNECT:missing 2>&1 | sed 's/.*socat[^ ]* //' || echo "status $?"
        echo nobody | socat - UNIX-CONNECT:p,type=5 2>&1 | sed 's/.*socat[^ ]* //' || echo "status $?"
        jobs=()
        for i in $(seq 16); do (seq -f "$i %g" 500 | socat -t 10 - UNIX-CONNECT:p | sha256sum >sum.$i) &
            jobs+=($!)
        done
        wait "${jobs[@]}"
        cat sum.*
    """,
    shows=[
        "^TO A PATH$",
        "^to an abstract name$",
        "^eman tcartsba rehtona ot$",
        "^packets$",
        "^3000000$",
        "No such file",
    ],
)

DATAGRAMS = Scenario(
    name="UNIX-RECV, UNIX-RECVFROM, UNIX-SENDTO, UNIX-SEND and their abstract kin: datagrams",
    server=r"""
        name=${DIR##*/}
        start receives socat -u -b 65536 UNIX-RECV:r OPEN:received,creat,append
        start answers socat UNIX-RECVFROM:a,fork EXEC:'tr a-z A-Z'
        start abstract socat -u -b 65536 "ABSTRACT-RECV:$name" OPEN:received,creat,append
        start abstractly socat "ABSTRACT-RECVFROM:$name.a,fork" EXEC:'tr a-z A-Z'
        until_ok test -S r -a -S a
    """,
    steps=r"""
        name=${DIR##*/}
        echo one | socat -u - UNIX-SENDTO:r
        until_ok grep one received
        printf 'two\n' | socat -u - UNIX-SEND:r
        until_ok grep two received
        until_ok sh -c "echo three | socat -u - ABSTRACT-SENDTO:$name"
        until_ok grep three received
        sort -u received
        # No end of file comes from a socket of datagrams: whoever waits for an answer waits for some time, and may ask
        # again, by another name, so that no late answer comes to it.
        answered() { # WORDS ADDRESS NAME: what is answered there
            local number
            for ((number = 0; number < 20; number++)); do
                echo "$1" | socat -t 1 - "$2,bind=$3.$number" >answer
                if [[ -s answer ]]; then
                    cat answer
                    return
                fi
            done
            echo 'no answer'
        }
        answered 'asked by path' UNIX-SENDTO:a me
        until_ok sh -c "echo | socat -u - ABSTRACT-SENDTO:$name.a"
        answered 'asked abstractly' "ABSTRACT-SENDTO:$name.a" "$name.me"
        seq 1 300 | while read -r number; do echo "number $number"; done | socat -u - UNIX-SENDTO:r
        until_ok grep -x 'number 300' received
        grep -c '^number' received
        head -c 60000 /dev/zero | tr '\0' d >large
        socat -u -b 65536 OPEN:large UNIX-SENDTO:r
        came() { test "$(tr -cd d <received | wc -c)" = 60000; }
        until_ok came && echo 'a large one'
        echo refused | socat - UNIX-SENDTO:gone 2>&1 | sed 's/.*socat[^ ]* //; s/0x[0-9a-f]*/<address>/' ||
            echo "status $?"
        echo refused | socat - UNIX-CONNECT:r,type=1 2>&1 | sed 's/.*socat[^ ]* //' || echo "status $?"
    """,
    shows=[
        "^one$",
        "^two$",
        "^three$",
        "^ASKED BY PATH$",
        "^ASKED ABSTRACTLY$",
        "^300$",
        "^a large one$",
        "wrong type",
    ],
)

PLUMBING = Scenario(
    name="socat with socket pairs, terminals, ends of file, an idle time-out, refused and retried connections",
    long=True,
    steps=r"""
        echo 'through a pair' | socat -t 5 - EXEC:cat
        echo 'through packets' | socat -t 5 - EXEC:cat,socktype=5
        echo 'through pipes' | socat -t 5 - EXEC:cat,pipes
        echo 'through a terminal' | socat -t 0.5 - EXEC:cat,pty,raw,echo=0
        echo 'down only' | socat -u - SYSTEM:'cat; echo end'
        start once socat -u UNIX-LISTEN:o CREATE:once
        until_ok test -S o
        echo 'only once' | socat -u - UNIX-CONNECT:o
        until_ok grep once once
        cat once
        test -e o || echo 'and gone'
        start stale socat -u UNIX-LISTEN:s,unlink-close=0 CREATE:stale
        until_ok test -S s
        finish stale
        test -S s && echo 'left behind'
        echo | socat - UNIX-CONNECT:s 2>&1 | sed 's/.*socat[^ ]* //' || echo "status $?"
        socat -u UNIX-LISTEN:s - 2>&1 | sed 's/.*socat[^ ]* //' || echo "status $?"
        (sleep 0.7; exec socat -u OPEN:once UNIX-LISTEN:s,unlink-early) &
        socat -u UNIX-CONNECT:late,retry=50,interval=0.1 - &
        late=$!
        sleep 0.3
        echo 'at last' | socat -u - UNIX-LISTEN:late
        wait $late
        until_ok sh -c 'socat -u UNIX-CONNECT:s - >again'
        cat again
        start idle socat -T 0.3 UNIX-LISTEN:i EXEC:cat
        until_ok test -S i
        (echo 'before idle'; sleep 1) | socat -t 2 - UNIX-CONNECT:i
        socat UNIX-LISTEN:relayed,fork UNIX-CONNECT:end &
        relay=$!
        start end socat UNIX-LISTEN:end,fork EXEC:'tac'
        until_ok test -S relayed -a -S end
        seq 3 | socat -t 5 - UNIX-CONNECT:relayed
        kill $relay
        wait $relay || true
    """,
    shows=[
        "^through a pair$",
        "^through packets$",
        "^through a terminal$",
        "^only once$",
        "^and gone$",
        "^left behind$",
        "Connection refused",
        "exists",
        "^at last$",
        "^before idle$",
        "^3$",
    ],
)

NETCAT = Scenario(
    name="nc -U: streams and datagrams, -N, -k, -z",
    server=r"""
        start listens nc -klU l
        start datagrams nc -kluU d
        until_ok test -S l -a -S d
    """,
    steps=r"""
        echo 'first' | nc -NU l
        echo 'second' | nc -NU l
        nc -zU l && echo 'is there'
        nc -zU missing 2>&1 || echo "status $?"
        until_ok grep second listens.log
        echo 'datagram' | nc -uU -s mine -w 1 d
        until_ok grep datagram datagrams.log
        cat listens.log datagrams.log
        (echo 'an answer' | nc -NlU answers) &
        until_ok test -S answers
        nc -NU answers </dev/null
        wait $!
        head -c 1000000 /dev/zero | nc -NlU sends >/dev/null &
        until_ok test -S sends
        nc -dU sends | wc -c
        wait $!
    """,
    shows=["^first$", "^second$", "^is there$", "^datagram$", "^an answer$", "^1000000$"],
)


@placements([STREAMS, DATAGRAMS, PLUMBING, NETCAT])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(STREAMS, ["bind", "listen", "connect", "accept", "write", "read", "socketpair", "shutdown"])
