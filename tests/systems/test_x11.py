"""X11: Xvfb on path and abstract names, clients, a window manager, pictures of the screen, shared memory, access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import PRIVATE, SHARED, Scenario, placements

SYSTEM = "X11"
VERSION = "dpkg-query -W -f '${Version}' xvfb"
PACKAGES = (
    "xvfb",  # with xvfb-run
    "xauth",
    "x11-apps",  # xclock, xlogo, xwd, x11perf, rendercheck
    "x11-utils",  # xdpyinfo, xprop, xwininfo
    "x11-xserver-utils",  # xhost
    "x11-session-utils",  # xsm
    "xterm",
    "twm",
    "xclip",
    "netpbm",  # xwdtopnm, ppmhist
    "gcc",
    "libc6-dev",
    "libxcb-shm0-dev",
)

PROGRAMS = Path(__file__).parent / "programs"


def xvfb(*options: str) -> str:
    """Steps that start a server on a free display, whose name is in $DIR/display as soon as it can be used.

    Without -noreset it would start anew whenever its last client has gone, and those that come then are turned away.
    """
    return rf"""
        start X Xvfb -displayfd 3 -screen 0 800x640x24 -noreset {" ".join(options)} 3>"$DIR/number"
        until_ok grep -q . "$DIR/number"
        echo ":$(<"$DIR/number")" >"$DIR/display"
    """


DISPLAY = """
    export DISPLAY=$(<"$DIR/display")
    path=/tmp/.X11-unix/X${DISPLAY#:}
"""

# Numbers of displays depend on who else has one, those of windows on the order in which clients come.
NUMBERS = [(r"^(name of display: +):\d+", r"\1:N"), (r"0x[0-9a-f]{5,}", "0xN")]

PATH_ONLY = Scenario(
    name="a path for the clients: xdpyinfo",
    server=xvfb("-nolisten local"),
    steps=DISPLAY + 'test -S "$path"\nxdpyinfo -queryExtensions',
    shows=["^vendor string: .*X.Org", "MIT-SHM", r"dimensions: +800x640 pixels"],
    varies=NUMBERS,
)

ABSTRACT_ONLY = Scenario(
    name="an abstract name for the clients: xdpyinfo",
    server=xvfb("-nolisten unix"),
    steps=DISPLAY + 'test ! -e "$path"\nxdpyinfo -queryExtensions',
    shows=PATH_ONLY.shows,
    varies=NUMBERS,
)

WINDOWS = Scenario(
    name="xterm and xlogo under twm: window tree, properties, picture of the screen",
    server=r"""
        # The fonts are those within the server. twm looks for those of all alphabets in any other locale than C.
        cat >twmrc <<-END
            NoGrabServer
            RandomPlacement
            TitleFont "fixed"
            MenuFont "fixed"
            IconFont "fixed"
            ResizeFont "fixed"
            IconManagerFont "fixed"
            Color { BorderColor "#ff8000" TitleBackground "#804000" TitleForeground "#ffffff" }
END
        # Started before its server so that it ends after it: it may sleep through a SIGTERM that finds it at work.
        start twm sh -c 'until test -s display; do sleep 0.05; done; LC_ALL=C DISPLAY=$(cat display) exec twm -f twmrc'
    """
    + xvfb(),
    steps=DISPLAY
    + r"""
        until_ok xwininfo -name "TWM Icon Manager" # the window manager is there
        start xlogo xlogo -geometry 200x150+420+300 -fg '#c02040' -bg '#f0f0e0'
        start xterm xterm -geometry 40x10+60+60 -T "a window" -bg '#204060' -fg '#ffe080' \
            -e sh -c 'seq 8; printf "hello, world"; exec sleep 600'

        picture() { xwd -root -silent -out "$DIR/$1.xwd" && xwdtopnm <"$DIR/$1.xwd" 2>/dev/null >"$DIR/$1.ppm"; }
        # count COLOUR FILE: how many of its pixels have this colour
        count() { ppmhist -noheader "$2" | awk -v rgb="$1" '$1" "$2" "$3 == rgb { n = $5 } END { print n + 0 }'; }
        drawn() {
            picture before
            for rgb in "255 224 128" "192 32 64" "255 128 0"; do test "$(count "$rgb" before.ppm)" -gt 100; done
            sleep 0.5
            picture after
            cmp before.ppm after.ppm
        }
        managed() { for name in xlogo "a window"; do xprop -name "$name" WM_STATE | grep Normal; done; }
        until_ok managed
        until_ok drawn

        xwininfo -name "a window" | grep -E 'geometry|Class:|Map State|Depth|Corners'
        xwininfo -root -tree | grep '"'
        xprop -name "a window" WM_NAME WM_CLASS WM_STATE WM_NORMAL_HINTS WM_PROTOCOLS
        echo "background of xterm: $(count "32 64 96" after.ppm) pixels"
        echo "letters of xterm: $(count "255 224 128" after.ppm) pixels"
        echo "xlogo: $(count "192 32 64" after.ppm) pixels"
        echo "titles: $(count "128 64 0" after.ppm) pixels"
        sha256sum <after.ppm
    """,
    shows=[
        r'0xN "a window": \("xterm" "XTerm"\)  \d+x\d+\+0\+\d+  \+62\+81',
        "window state: Normal",
        r"background of xterm: \d{5} pixels",
        r"letters of xterm: \d{3} pixels",
        r"xlogo: \d{4,} pixels",
        r"titles: \d{4} pixels",
        "^[0-9a-f]{64}",
    ],
    varies=NUMBERS,
)

SHARED_MEMORY = Scenario(
    name="MIT-SHM by descriptors, both ways",
    server=xvfb(),
    steps=f"{DISPLAY}\ncc -O -Wall -o xshm {PROGRAMS}/xshm.c -lxcb-shm -lxcb\n./xshm",
    shows=[
        "^the image was taken$",
        "^pixels that differ: 0$",
        "^pixels that the server drew into our memory: 5000$",
        "^pixels that differ in 100 rounds: 0$",
        "^detached: BadSeg$",
    ],
)

SELECTION = Scenario(
    name="xclip: 4 MB from one client to another by way of the server",
    server=xvfb(),
    steps=DISPLAY
    + r"""
        seq 1000000000 1000363635 >text
        start owner xclip -quiet -in text
        until_ok xclip -out -target TARGETS
        xclip -out -target TARGETS | sort
        xclip -out >copy
        cmp text copy
        wc -c <copy
    """,
    shows=["^UTF8_STRING$", r"^3999996$"],
)

MANY = Scenario(
    name="40 xclocks at once",
    server=xvfb(),
    steps=DISPLAY
    + r"""
        begin=$EPOCHREALTIME
        for ((i = 0; i < 40; i++)); do
            start "clock$i" xclock -name "clock$i" -geometry "+$((i % 8 * 90))+$((i / 8 * 90))"
        done
        shown() { xwininfo -root -tree | grep -c '^     0x.*XClock'; }
        all() { test "$(shown)" = 40; }
        until_ok all
        figure "time until 40 xclocks stand" "$(awk "BEGIN { print $EPOCHREALTIME - $begin }")" s
        echo "windows: $(shown)"
        for ((i = 0; i < 40; i += 2)); do finish "clock$i"; done
        half() { test "$(shown)" = 20; }
        until_ok half
        echo "windows: $(shown)"
    """,
    shows=["^windows: 40$", "^windows: 20$"],
)

COOKIE_FILE = "xauth -q -f server.auth add :0 . 000102030405060708090a0b0c0d0e0f 2>/dev/null"

COOKIE = Scenario(
    name="access by cookie, and by nothing else",
    server=COOKIE_FILE + xvfb('-auth "$DIR/server.auth"'),
    steps=DISPLAY
    + r"""
        export XAUTHORITY=$DIR/client.auth
        if xdpyinfo >/dev/null 2>err; then echo "open to all"; fi
        cat err
        xauth -q add "$DISPLAY" . 000102030405060708090a0b0c0d0eff
        if xdpyinfo >/dev/null 2>err; then echo "open with a wrong cookie"; fi
        cat err
        xauth -q add "$DISPLAY" . 000102030405060708090a0b0c0d0e0f
        xdpyinfo | grep vendor
    """,
    shows=["^vendor string:", "^Authorization required"],
    varies=[*NUMBERS, (r'display ":\d+"', 'display ":N"')],
)

USERS = Scenario(
    name="access by user, who is known by SO_PEERCRED",
    server=COOKIE_FILE + xvfb('-auth "$DIR/server.auth"'),
    steps=DISPLAY
    + r"""
        export XAUTHORITY=$DIR/client.auth
        xauth -q add "$DISPLAY" . 000102030405060708090a0b0c0d0e0f
        xhost +si:localuser:nobody
        xhost
        as() { XAUTHORITY=/dev/null setpriv --reuid "$1" --regid nogroup --clear-groups xdpyinfo | grep vendor.string; }
        as nobody
        if as daemon; then echo "open to all"; fi
    """,
    shows=["^SI:localuser:nobody$", "^vendor string:"],
    varies=NUMBERS,
)

ENDS = Scenario(
    name="xkill, and the end of the server under its clients",
    server=xvfb(),
    steps=DISPLAY
    + r"""
        # gone NAME: waits for a client that was started here, and says how it ended
        gone() {
            wait "$(<"$1.pid")" && echo "$1: status 0" || echo "$1: status $?"
            cat "$1.log"
        }
        for name in killed left; do start "$name" xlogo -name "$name"; done
        for name in killed left; do until_ok xwininfo -name "$name"; done
        xkill -id "$(xwininfo -name killed | sed -n 's/.*Window id: \([^ ]*\) .*/\1/p')" | sed 's/ of resource.*//'
        gone killed
        xwininfo -name left | grep 'Map State'
        kill "$(<X.pid)"
        gone left
        until_ok test ! -e "$path"
        if xdpyinfo 2>&1; then echo "the server is still there"; fi
    """,
    shows=["^killed: status 1$", "^left: status 1$", "Map State: IsViewable", "unable to open display"],
    varies=[
        *NUMBERS,
        (r"(X connection to |display \"):\d+", r"\1:N"),
    ],
)

SESSION = Scenario(
    name="a session: xsm and clients that it knows by their ICE connections",
    server=xvfb()
    + DISPLAY
    + r"""
        printf '%s\n' xlogo 'sh -c "echo $SESSION_MANAGER >address"' >.xsmstartup
        start xsm xsm -session one
        until_ok grep -q . address
    """,
    steps=DISPLAY
    + r"""
        export SESSION_MANAGER=$(<address)
        sed -E 's|[0-9]+|N|g; s|/[^/:,]*:|/host:|g' address
        start xclock xclock
        for name in xlogo xclock; do
            until_ok sh -c "xprop -name $name SM_CLIENT_ID | grep -q STRING"
            xprop -name "$name" SM_CLIENT_ID WM_COMMAND
        done
        kill "$(<xsm.pid)" # it tells them to end
        wait "$(<xclock.pid)" && echo "xclock: status 0" || echo "xclock: status $?"
        gone() { test -z "$(xwininfo -root -tree | grep -E 'xclock|xlogo')"; }
        until_ok gone
        until_ok test ! -e "/tmp/.ICE-unix/$(<xsm.pid)"
    """,
    shows=[
        r"^local/host:@/tmp/.ICE-unix/N,unix/host:/tmp/.ICE-unix/N",
        "^SM_CLIENT_ID.STRING. = ",
        "^xclock: status 0",
    ],
    varies=[(r'(SM_CLIENT_ID\(STRING\) = )".*"', r"\1ID")],
)

XVFB_RUN = Scenario(
    name="xvfb-run",
    steps='xvfb-run -a -s "-screen 0 320x200x24" xdpyinfo',
    shows=[r"dimensions: +320x200 pixels"],
    varies=NUMBERS,
    where=(PRIVATE, SHARED),
)

RENDER = Scenario(
    name="rendercheck: pictures drawn by the server and fetched from it",
    server=xvfb(),
    steps=DISPLAY + "rendercheck -f a8r8g8b8 -t fill,dcoords,scoords,mcoords,tscoords,tmcoords,blend",
    shows=[r"^(\d{2,}) tests passed of \1 total"],
)

RENDER_MORE = Scenario(
    name="rendercheck with more formats and all operators",
    server=xvfb(),
    steps=DISPLAY
    + "rendercheck -f a8r8g8b8,x8r8g8b8,a8 -t fill,dcoords,scoords,mcoords,tscoords,tmcoords,blend,repeat,composite",
    shows=RENDER.shows,
    timeout=240,
    long=True,
)

PERFORMANCE = Scenario(
    name="x11perf",
    server=xvfb(),
    steps=DISPLAY
    + r"""
        # 400 trep @   1.3422 msec (   745.0/sec): GetImage 500x500 square
        while read -r repetitions what; do
            x11perf -repeat 1 -reps "$repetitions" "-$what" >"$what.log" 2>&1
            sed -nE 's|.* reps? @ .*\( *([0-9.]+)/sec\): (.*)|\1 \2|p' "$what.log" | while read -r rate name; do
                figure "$name" "$rate" /s
                echo "$name"
            done
        done <<-END
            1000000 noop
            1000 prop
            100 getimage500
            100 putimage500
END
    """,
    shows=["^X protocol NoOperation", "^GetProperty", "^GetImage 500x500", "^PutImage 500x500"],
    timeout=60,
)

SCENARIOS = [
    PATH_ONLY,
    ABSTRACT_ONLY,
    WINDOWS,
    SHARED_MEMORY,
    SELECTION,
    MANY,
    COOKIE,
    USERS,
    ENDS,
    SESSION,
    XVFB_RUN,
    RENDER,
    RENDER_MORE,
    PERFORMANCE,
]


@placements(SCENARIOS)
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(WINDOWS, ["socket", "bind", "listen", "connect", "accept", "writev", "recvmsg"])
