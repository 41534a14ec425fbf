"""tmux and screen: sessions that outlive their terminals, commands to them, descriptors of terminals passed to tmux."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "tmux, screen"
VERSION = "echo $(tmux -V | sed 's/.* //'), $(screen --version | sed 's/[^0-9]*\\([0-9.]*\\).*/\\1/')"
PACKAGES = ("tmux", "screen", "bsdutils")

TMUX = Scenario(
    name="tmux: windows, keys, what is on the screen, an attached terminal, a channel to wait on, control mode",
    server=r"""
        start tmux tmux -f /dev/null -S "$DIR/t" -D
        until_ok tmux -N -S t set -g exit-empty off
        tmux -S t new-session -d -s main -n first -x 80 -y 24 "env -i PATH=$PATH PS1='> ' sh"
    """,
    steps=r"""
        t() { tmux -S "$DIR/t" "$@"; }
        stat -c '%F' t
        until_ok sh -c 'tmux -S t capture-pane -p -t main | grep "^>"'
        t send-keys -t main 'echo $((6 * 7)) is it' Enter
        until_ok sh -c 'tmux -S t capture-pane -p -t main | grep "^42 is it"'
        t capture-pane -p -t main | grep -v '^$' | head -n 3
        t new-window -t main -n second 'seq 5; exec sleep 1000'
        t list-windows -t main -F '#{window_index} #{window_name}'
        until_ok sh -c 'tmux -S t capture-pane -p -t main:second | grep 5'
        t capture-pane -p -t main:second | head -n 5
        t set-buffer -b one "$(head -c 10000 /dev/zero | tr '\0' x)"
        t show-buffer -b one | wc -c
        (t wait-for channel; echo 'woken') &
        sleep 0.2
        t wait-for -S channel
        wait $!
        seq 1000 | t load-buffer -b two -
        t save-buffer -b two - | sha256sum
        t run-shell "echo from the server >$DIR/from"
        cat from
        (sleep 0.5; t detach-client -s main) &
        TERM=xterm script -qec "tmux -S $DIR/t attach -t main" /dev/null </dev/null | tr -d '\r' |
            grep -ao '\[detached (from session main)\]'
        wait $!
        printf 'display-message -p hello\n' | t -C attach -t main | grep -E '^(hello|%exit)'
        jobs=()
        for i in $(seq 12); do (t display-message -p "client $i") >said.$i & jobs+=($!); done
        wait "${jobs[@]}"
        cat said.*
        t kill-session -t main
        t has-session -t main 2>&1 || echo "status $?"
    """,
    shows=[
        "^42 is it",
        "^0 first$",
        "^1 second",
        "^5$",
        "^10000$",
        "^woken$",
        "from the server",
        "detached",
        "^hello$",
        "^client 12$",
    ],
)

SCREEN = Scenario(
    name="screen: a detached session, commands to it, its hard copy, an attached terminal, the end",
    steps=r"""
        export SCREENDIR=$DIR/s SHELL=/bin/sh
        mkdir -m 700 s
        ended() { [[ $(screen -ls main) != *tached* ]]; }
        screen -c /dev/null -dmS main env -i "PATH=$PATH" PS1='> ' sh
        until_ok sh -c 'screen -ls main | grep Detached'
        screen -ls main | grep -o 'main.*tached)' | tr -s '\t' ' ' | sed 's/([^)]*) (/(/'
        copy() { screen -S main -X hardcopy "$DIR/copy" && sleep 0.1 && cp copy seen && grep "$1" seen; }
        until_ok copy '^>'
        screen -S main -X stuff $'seq 40 43 | tac\n'
        until_ok copy '^40'
        grep -v '^$' seen | head -n 5
        screen -S main -X screen -t second sh -c "echo second; exec sleep 1000"
        until_ok sh -c 'screen -S main -Q windows | grep second'
        screen -S main -Q windows | tr -s ' ' | sed 's/[*$-]//g'
        echo
        screen -S main -Q number | sed 's/.*(/(/'
        echo
        screen -S main -X nonsense 2>&1 || echo "status $?"
        (sleep 1; screen -S main -X detach) &
        TERM=xterm script -qec 'screen -r main' /dev/null </dev/null | tr -d '\r' | grep -ao 'detached from.*main'  |
            sed 's/[0-9]*\.main/<pid>.main/'
        wait $!
        screen -S main -X quit
        until_ok ended
        screen -ls | sed 's/ in .*//' || true
    """,
    shows=["^main", "^40$", "second", "detached from <pid>.main", "^No Sockets found"],
)


@placements([TMUX, SCREEN])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(TMUX, ["bind", "listen", "connect", "accept", "sendmsg", "recvmsg", "socketpair"])
