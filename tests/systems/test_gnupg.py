"""GnuPG: gpg with its agent, started by itself and asked by hand; signatures, decryption, the agent as ssh-agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "GnuPG"
VERSION = "gpg --version | sed -n '1s/.* //p'"
PACKAGES = ("gpg", "gpg-agent", "gpgconf", "openssh-client")

HOME = r"""
    export GNUPGHOME=$DIR/g
"""

SERVER = (
    HOME
    + r"""
    mkdir -m 700 -p g
    # Few rounds for passphrases: what is tested is not how long they take.
    printf '%s\n' "extra-socket $DIR/g/extra" 's2k-count 65536' >g/gpg-agent.conf
    gpg-agent --daemon --enable-ssh-support --allow-loopback-pinentry >agent.log 2>&1
    start keeper perl -e '$SIG{TERM} = sub { system(qw(gpgconf --kill gpg-agent)); exit }; sleep'
    until_ok gpg-connect-agent --no-autostart /bye
"""
)

KEYS = Scenario(
    name="gpg: a key is made, signs and decrypts by the agent; commands to the agent; its ssh keys",
    server=SERVER,
    steps=HOME
    + r"""
        gpg='gpg --batch --no-autostart --pinentry-mode loopback --passphrase secret'
        $gpg --quick-gen-key someone@example.org ed25519 sign never 2>/dev/null
        fingerprint=$(gpg --no-autostart --with-colons -K | sed -n 's/^fpr:*\([^:]*\):/\1/p' | head -n 1)
        $gpg --quick-add-key "$fingerprint" cv25519 encr never
        echo hello >text
        $gpg --clearsign text 2>/dev/null
        gpg --no-autostart --verify text.asc 2>&1 | grep -o 'Good signature from .*'
        $gpg --trust-model always -r someone@example.org -e text 2>/dev/null
        gpg-connect-agent --no-autostart 'clear_passphrase --mode=normal x' reloadagent /bye
        gpg --batch --no-autostart --pinentry-mode loopback --passphrase wrong -d text.gpg >wrong 2>&1 ||
            echo "status $?"
        grep -o -m 1 'Bad passphrase' wrong
        $gpg -q -d text.gpg
        gpg-connect-agent --no-autostart 'keyinfo --list' /bye | cut -d' ' -f1,2,4 | sort
        gpg-connect-agent --no-autostart 'getinfo version' 'nonsense' /bye
        gpg-connect-agent --no-autostart -S "$DIR/g/extra" 'keyinfo --list' /bye
        jobs=()
        for i in 1 2 3 4; do ($gpg -q -d text.gpg) & jobs+=($!); done
        wait "${jobs[@]}"
        export SSH_AUTH_SOCK=$DIR/g/S.gpg-agent.ssh
        ssh-keygen -q -t ed25519 -N '' -f key -C 'a key'
        ssh-add -l || echo "status $?"
        stat -c '%n %F %a' g/S.*
    """,
    shows=["^Good signature", "^Bad passphrase", "^hello$", "^D 2"],
)

BY_ITSELF = Scenario(
    name="gpg starts its agent by itself, and gpgconf ends it",
    steps=HOME
    + r"""
        mkdir -m 700 g
        gpg --batch --passphrase '' --quick-gen-key someone@example.org ed25519 sign never 2>/dev/null
        echo hello | gpg --clearsign 2>/dev/null | gpg --verify 2>&1 | grep -o 'Good signature from .*'
        gpg-connect-agent --no-autostart 'getinfo socket_name' /bye
        agent=$(gpg-connect-agent --no-autostart 'getinfo pid' /bye | sed -n 's/^D //p')
        gpgconf --kill gpg-agent
        until_ok sh -c "! grep -qs '^State:.[^ZX]' /proc/$agent/status"
        ls g | sort
        gpg-connect-agent --no-autostart /bye 2>&1 | sed 's/^gpg-connect-agent: //' || echo "status $?"
    """,
    shows=["^Good signature", "^D .*S.gpg-agent", "no running|no gpg-agent"],
)


@placements([KEYS, BY_ITSELF])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(KEYS, ["bind", "listen", "connect", "accept", "write", "read"])
