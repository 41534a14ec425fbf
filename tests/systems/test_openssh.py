"""OpenSSH: the agent and its clients, agent forwarding, a shared connection (ControlMaster), forwarded Unix sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "OpenSSH"
VERSION = "ssh -V 2>&1 | sed 's/OpenSSH_\\([0-9.p]*\\).*/\\1/'"
PACKAGES = ("openssh-client", "openssh-server", "socat", "x11-utils", "xvfb", "xauth")

AGENT = Scenario(
    name="ssh-agent: keys, signatures, a lock, constraints, the agent started around a program",
    server=r"""
        start agent ssh-agent -D -a "$DIR/a"
        until_ok test -S a
    """,
    steps=r"""
        export SSH_AUTH_SOCK=$DIR/a
        for type in ed25519 rsa ecdsa; do ssh-keygen -q -t $type -N '' -f key_$type -C "$type key"; done
        ssh-add -l || echo "status $?"
        ssh-add -q key_ed25519 key_rsa key_ecdsa
        ssh-add -l | sed 's/SHA256:[^ ]*/<hash>/'
        ssh-add -L | cut -d' ' -f1
        ssh-add -T key_rsa.pub && echo "can sign"
        echo text >text
        ssh-keygen -q -Y sign -f key_ed25519.pub -n file text
        echo "someone $(cat key_ed25519.pub)" >allowed
        ssh-keygen -Y verify -f allowed -I someone -n file -s text.sig <text | sed 's/SHA256:.*/<hash>/'
        ssh-add -q -d key_rsa
        ssh-add -q -t 1 key_rsa
        sleep 1.2
        ssh-add -l | wc -l
        jobs=()
        for i in 1 2 3 4 5 6 7 8; do (ssh-add -T key_ecdsa.pub && echo "signed at once") & jobs+=($!); done
        wait "${jobs[@]}"
        ssh-add -q -D
        ssh-add -l || echo "status $?"
        ssh-agent sh -c 'ssh-add -q key_rsa; ssh-add -l | wc -l; kill $SSH_AGENT_PID'
    """,
    shows=[
        "The agent has no identities",
        "<hash> rsa key",
        "can sign",
        'Good "file" signature',
        "signed at once",
        "^1$",
    ],
)

SSHD = r"""
    mkdir -p run
    ssh-keygen -q -t ed25519 -N '' -f host
    ssh-keygen -q -t ed25519 -N '' -f me
    cp me.pub authorized
    sed 's/^ *//' >sshd_config <<END
            Port 0
            ListenAddress 127.0.0.1
            HostKey $DIR/host
            AuthorizedKeysFile $DIR/authorized
            PidFile none
            StrictModes no
            UsePAM no
            PermitRootLogin yes
            PasswordAuthentication no
            X11Forwarding yes
            X11UseLocalhost yes
            StreamLocalBindUnlink yes
            LogLevel VERBOSE
            Subsystem sftp internal-sftp
END
    # It tells a free port by its log only if it is given one.
    port=$(perl -MIO::Socket -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
    sed -i "s/^Port .*/Port $port/" sshd_config
    test -d /run/sshd || mkdir /run/sshd
    start sshd /usr/sbin/sshd -D -e -f "$DIR/sshd_config"
    sed 's/^ *//' >ssh_config <<END
            Host there
                HostName 127.0.0.1
                Port $port
                User root
                IdentityFile $DIR/me
                IdentitiesOnly yes
                StrictHostKeyChecking accept-new
                UserKnownHostsFile $DIR/known
                LogLevel ERROR
END
    until_ok ssh -F ssh_config there true
"""

FORWARDING = Scenario(
    name="ssh -L and -R from path to path on loopback, 10 connections at once, and to nothing",
    server=SSHD
    + r"""
        # sshd gives a connection up that finds the backlog full, which is 5 if nobody says otherwise.
        start echo socat UNIX-LISTEN:served,backlog=64,fork EXEC:'tr a-z A-Z'
        until_ok test -S served
    """,
    steps=r"""
        ask() { socat -t 10 - "UNIX-CONNECT:$1"; }
        start tunnel ssh -F ssh_config -N -o ExitOnForwardFailure=yes -o StreamLocalBindMask=0177 \
            -L "$DIR/here:$DIR/served" -R "$DIR/there:$DIR/served" -L "$DIR/nobody:$DIR/nothing" there
        until_ok test -S here
        until_ok test -S there
        stat -c '%n %F %a' here there
        echo 'through -L' | ask here
        echo 'through -R' | ask there
        head -c 2000000 /dev/zero | tr '\0' a | ask here | tr -d A | wc -c
        head -c 2000000 /dev/zero | tr '\0' a | ask here | wc -c
        jobs=()
        for i in $(seq 10); do (seq -f "line of $i: %g" 1000 | ask here | sha256sum >sum.$i) & jobs+=($!); done
        wait "${jobs[@]}"
        cat sum.*
        (ask nobody </dev/null || true) | wc -c
        finish tunnel
        ls -d here there 2>/dev/null || echo "status $?"
    """,
    shows=["^THROUGH -L$", "^THROUGH -R$", "^2000000$", "^0$"],
)

SHARING = Scenario(
    name="ControlMaster: a shared connection, descriptors to the master, forwards added later, agent forwarding, sftp",
    long=True,
    server=SSHD,
    steps=r"""
        s() { ssh -F ssh_config -o ControlPath="$DIR/master" "$@"; }
        start master ssh -F ssh_config -M -N -A -o ControlPath="$DIR/master" there
        until_ok s -O check there
        s -O check there 2>&1 | sed 's/=[0-9]*/=N/'
        s there 'echo "out"; echo "error" >&2; exit 3' 2>&1 || echo "status $?"
        seq 100000 | s there sha256sum
        s there 'head -c 3000000 /dev/zero' | wc -c
        jobs=()
        for i in 1 2 3 4 5; do (s there "echo session $i" >session.$i) & jobs+=($!); done
        wait "${jobs[@]}"
        cat session.*
        s -O forward -L "$DIR/later:$DIR/master" there
        stat -c %F later
        s -O cancel -L "$DIR/later:$DIR/master" there
        test -S later || echo cancelled
        s -tt there 'tty >/dev/null && echo "has a terminal"' </dev/null | tr -d '\r'
        start agent ssh-agent -D -a "$DIR/a"
        until_ok test -S a
        SSH_AUTH_SOCK=$DIR/a ssh-add -q me
        SSH_AUTH_SOCK=$DIR/a ssh -F ssh_config -A there 'ssh-add -l' | sed 's/SHA256:[^ ]*/<hash>/; s/ [^ ]* (/ (/'
        echo "ls -1 $DIR/host" | sftp -q -F ssh_config -o ControlPath="$DIR/master" -b - there
        s -O exit there
        until_ok sh -c '! test -S master'
    """,
    shows=[
        "Master running",
        "^out$",
        "^error$",
        "^status 3",
        "^3000000$",
        "^session 5",
        "has a terminal",
        "^256 <hash> ",
    ],
)

X_FORWARDING = Scenario(
    name="ssh -X: a window system's client on the other side; its display by ssh -L to the server's socket",
    server=SSHD
    + r"""
        start xvfb Xvfb -displayfd 3 -nolisten tcp -noreset -screen 0 320x200x24 3>number
        until_ok test -s number
    """,
    steps=r"""
        export DISPLAY=:$(<number) XAUTHORITY=$DIR/authority
        touch authority
        xdpyinfo | grep dimensions
        xauth add "$DISPLAY" . "$(head -c 16 /dev/zero | od -An -tx1 | tr -d ' \n')"
        other=$((2000 + $(<number)))
        start tunnel ssh -F ssh_config -N -L "/tmp/.X11-unix/X$other:/tmp/.X11-unix/X$(<number)" there
        until_ok test -S "/tmp/.X11-unix/X$other"
        DISPLAY=:$other xdpyinfo | grep dimensions
        finish tunnel
        rm -f "/tmp/.X11-unix/X$other"
        ssh -F ssh_config -Y there 'echo "${DISPLAY%:*}"; xdpyinfo | grep dimensions; xset q | head -n 1'
    """,
    shows=["dimensions:    320x200", "^localhost$"],
)


@placements([AGENT, FORWARDING, SHARING, X_FORWARDING])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(FORWARDING, ["bind", "listen", "connect", "accept", "write", "read", "socketpair"])
