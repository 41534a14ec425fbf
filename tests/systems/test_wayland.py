"""Wayland: weston with its own clients, pictures of its screen, weston and Xwayland within it, sway and its clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import Scenario, placements

SYSTEM = "Wayland"
VERSION = "weston --version"
PACKAGES = (
    "weston",
    "wayland-utils",  # wayland-info
    "netpbm",  # pngtopnm, ppmhist
    "xwayland",
    "x11-apps",  # xlogo
    "x11-utils",  # xdpyinfo
    "sway",
    "foot",
    "grim",
    "wl-clipboard",
    "util-linux",  # setpriv
    "gcc",
    "libc6-dev",
    "libwayland-dev",
)

PROGRAMS = Path(__file__).parent / "programs"
IMAGE = "/usr/share/weston/icon_flower.png"

CONFIGURED = """
    printf '%s\\n' "[shell]" panel-position=none background-color=0xff204060 animation=none startup-animation=none \\
        close-animation=none focus-animation=none >weston.ini
"""


def weston(*options: str) -> str:
    """Steps that start a compositor without a screen, $XDG_RUNTIME_DIR/outer."""
    return rf"""
        {CONFIGURED}
        start weston weston --backend=headless-backend.so --use-pixman --width=640 --height=480 --socket=outer \
            --idle-time=0 --debug --config="$DIR/weston.ini" {" ".join(options)}
        until_ok wayland-info -i wl_shm
    """


OUTER = """
    export WAYLAND_DISPLAY=outer
"""

STEPS = (
    OUTER
    + r"""
    # shot NAME: the whole screen as NAME.ppm
    shot() {
        mkdir -p shots
        (cd shots && weston-screenshooter && mv *.png "../$1.png")
        pngtopnm "$1.png" >"$1.ppm"
    }
    # count COLOUR: how many pixels of the last picture have it
    count() { ppmhist -noheader after.ppm | awk -v rgb="$1" '$1" "$2" "$3 == rgb { n = $5 } END { print n + 0 }'; }
    # still COLOUR: nothing moves any more, and this colour is to be seen
    still() {
        shot before
        sleep 0.5
        shot after
        cmp before.ppm after.ppm
        test "$(count "$1")" -gt 100
    }
    # The compositor writes these into our own standard output, whose descriptor it is sent.
    windows() { weston-debug scene-graph | sed -nE "s/.*View.*top-level window '(.*)'.*/\1/p"; }
    mapped() { windows | grep -F "$1"; }
    places() { weston-debug scene-graph | grep -A1 'View.*top-level' | sed 's/.*top-level window//; s/, 0x.*//'; }
"""
)

REGISTRY = Scenario(
    name="wayland-info",
    server=OUTER + weston(),
    steps=OUTER
    + r"""
        wayland-info
        begin=$EPOCHREALTIME
        for ((i = 0; i < 20; i++)); do wayland-info >/dev/null; done
        figure "wayland-info" "$(awk "BEGIN { print 20 / ($EPOCHREALTIME - $begin) }")" /s
    """,
    shows=["^interface: 'wl_compositor'", "^interface: 'wl_shm'", "'XR24'", "width: 640 px, height: 480 px"],
)

PICTURE = Scenario(
    name="a window and a picture of the screen by weston-screenshooter",
    server=OUTER + weston(),
    steps=STEPS
    + rf"""
        until_ok still "32 64 96"
        sha256sum <after.ppm
        start image weston-image {IMAGE}
        until_ok mapped "icon_flower.png"
        until_ok still "0 0 0"
        places
        echo "background: $(count "32 64 96")"
        echo "frame: $(count "191 191 191")"
        sha256sum <after.ppm
        finish image
        gone() {{ test -z "$(windows)"; }}
        until_ok gone
        until_ok still "32 64 96"
        sha256sum <after.ppm
    """,
    shows=["Wayland Image - icon_flower.png", r"background: \d{6}", r"frame: \d{5}", "^[0-9a-f]{64}"],
)

ANIMATED = Scenario(
    name="wl_shm: pools in memfds, animated windows, the end of the compositor",
    server=OUTER + weston(),
    steps=STEPS
    + r"""
        until_ok still "32 64 96" # the compositor's own clients are done
        start protocol weston-debug proto
        until_ok test -s protocol.log
        for client in simple-shm simple-damage flower; do
            weston-"$client" >"$client.log" 2>&1 &
            pids+=($!)
        done
        # frames INTERFACE: how often clients have shown something new
        frames() { grep -c 'rq wl_surface@.*\.commit()' protocol.log; }
        moving() { test "$(frames)" -gt "$1"; }
        until_ok mapped simple-shm
        until_ok mapped simple-damage
        until_ok mapped Flower
        places | grep -o "'.*'.* of [a-z.-]*" | sort
        begin=$EPOCHREALTIME first=$(frames)
        until_ok moving $((first + 100))
        figure "frames of three clients" \
            "$(awk "BEGIN { print ($(frames) - $first) / ($EPOCHREALTIME - $begin) }")" /s
        shot one
        until_ok moving $(($(frames) + 20))
        shot two
        if cmp -s one.ppm two.ppm; then echo "nothing moves"; else echo "it moves"; fi
        sed -nE 's/.* rq wl_shm@.*create_pool\(.*, fd [0-9]+, ([0-9]{6,})\)/pool of \1 bytes/p' protocol.log | sort -u

        kill "$(<weston.pid)"
        for pid in "${pids[@]}"; do wait "$pid" && echo "status 0" || echo "status $?"; done
        cat simple-shm.log
    """,
    shows=["^it moves", "^pool of 250000 bytes", "^pool of 240000 bytes"],
)

POOLS = Scenario(
    name="wl_shm: 2000 pools by one client, and one that is refused",
    server=OUTER + weston(),
    steps=f"{STEPS}\ncc -O -Wall -o wlshm {PROGRAMS}/wlshm.c -lwayland-client"
    + r"""
        until_ok still "32 64 96" # the compositor's own clients are done
        held() { find "/proc/$(<weston.pid)/fd" -type l | wc -l; }
        before=$(held)
        begin=$EPOCHREALTIME
        ./wlshm 2>&1 | sed -E 's/fd [0-9]+/fd N/'
        figure "wl_shm pools" "$(awk "BEGIN { print 2000 / ($EPOCHREALTIME - $begin) }")" /s
        as_before() { test "$(held)" = "$before"; }
        until_ok as_before && echo "the compositor holds no descriptor of them"
    """,
    shows=["^2000 pools$", "^a pipe as a pool: Protocol error, error 2 of wl_shm$", "holds no descriptor"],
)

NESTED = Scenario(
    name="weston as a client of weston",
    server=OUTER + weston(),
    steps=STEPS
    + rf"""
        start inner weston --backend=wayland-backend.so --use-pixman --width=400 --height=300 --socket=inner \
            --idle-time=0 --config="$DIR/weston.ini"
        until_ok mapped "Weston Compositor"
        export WAYLAND_DISPLAY=inner
        until_ok wayland-info
        wayland-info -i wl_output
        start image weston-image {IMAGE}
        WAYLAND_DISPLAY=outer
        until_ok still "0 0 0"
        places
        sha256sum <after.ppm
    """,
    shows=["Weston Compositor - wayland0", "width: 400 px, height: 300 px", "^[0-9a-f]{64}"],
)

XWAYLAND = Scenario(
    name="X clients in weston by Xwayland, started when the first one comes",
    server=OUTER + weston("--xwayland"),
    steps=STEPS
    + r"""
        export DISPLAY=$(sed -n 's/.*listening on display //p' weston.log)
        xdpyinfo | grep -E 'vendor string|dimensions|depth of root'
        start xlogo xlogo -geometry 120x120 -fg '#c02040' -bg '#f0f0e0'
        until_ok mapped xlogo
        until_ok still "192 32 64"
        places
        echo "xlogo: $(count "192 32 64")"
        sha256sum <after.ppm
    """,
    shows=["^vendor string", "'xlogo'", r"^xlogo: \d{4}", "^[0-9a-f]{64}"],
)

MANY = Scenario(
    name="20 windows at once",
    long=True,
    server=OUTER + weston(),
    steps=STEPS
    + rf"""
        begin=$EPOCHREALTIME
        for ((i = 0; i < 20; i++)); do start "image$i" weston-image {IMAGE}; done
        all() {{ test "$(windows | wc -l)" = 20; }}
        until_ok all
        figure "time until 20 windows stand" "$(awk "BEGIN {{ print $EPOCHREALTIME - $begin }}")" s
        windows | sort | uniq -c
        until_ok still "0 0 0"
    """,
    shows=["20 Wayland Image - icon_flower.png"],
)

# sway doesn't run as root. Its clients are of the same user.
SWAY = r"""
    export XDG_RUNTIME_DIR=$DIR/run
    export WAYLAND_DISPLAY=wayland-1 SWAYSOCK=$XDG_RUNTIME_DIR/sway.sock
    nobody=(setpriv --reuid nobody --regid nogroup --clear-groups)
"""

SWAY_TERMINAL = Scenario(
    name="sway by another user: swaymsg and its events, foot, grim, wl-copy and wl-paste",
    server=SWAY
    + r"""
        install -d -o nobody -g nogroup -m 700 "$XDG_RUNTIME_DIR"
        printf '%s\n' 'output HEADLESS-1 resolution 640x480 position 0,0' 'output * bg #204060 solid_color' \
            'default_border pixel 4' 'xwayland disable' >sway.conf
        start sway env -u WAYLAND_DISPLAY WLR_BACKENDS=headless WLR_LIBINPUT_NO_DEVICES=1 WLR_RENDERER=pixman \
            "${nobody[@]}" sway -c "$DIR/sway.conf"
        until_ok "${nobody[@]}" swaymsg -t get_version
    """,
    steps=SWAY
    + r"""
        "${nobody[@]}" swaymsg -t get_version --raw | grep -o '"human_readable": "[^"]*"'
        "${nobody[@]}" swaymsg -t get_outputs --raw | grep -E '"(name|current_workspace|refresh)"' | tr -d ' ,'
        "${nobody[@]}" wayland-info | grep -oE "interface: '(zwlr_screencopy|zwlr_data_control|ext_|xdg_wm)[a-z_0-9]*'"

        start events "${nobody[@]}" swaymsg -t subscribe --monitor '["window", "shutdown"]'
        happened() { grep -oE '"change": "[a-z]*"' events.log | grep "$1"; }
        # A subscriber says nothing before the first event.
        opened() {
            start foot "${nobody[@]}" foot -T "a terminal" sh -c 'seq 8; printf "hello, world"; exec sleep 600'
            for ((i = 0; i < 100; i++)); do happened new && return; sleep 0.05; done
            finish foot
            return 1
        }
        opened || opened
        "${nobody[@]}" swaymsg -t get_tree --raw | grep -oE '"(name|app_id)": "(a terminal|foot)"'

        shot() { "${nobody[@]}" grim -t ppm - >"$1.ppm"; }
        still() {
            shot before
            sleep 0.5
            shot after
            cmp before.ppm after.ppm
            test "$(ppmhist -noheader after.ppm | wc -l)" -gt 5 # letters have many shades
        }
        until_ok still
        ppmhist -noheader after.ppm | sort -k5nr | awk 'NR <= 3 { print $1, $2, $3, "in", $5, "pixels" }'
        sha256sum <after.ppm

        # The descriptor of a pipe goes from one to the compositor, and from there to the other, who writes.
        seq 1000000 1500000 >text
        start copy "${nobody[@]}" sh -c 'exec wl-copy --foreground --type text/plain <text'
        until_ok "${nobody[@]}" wl-paste --list-types
        "${nobody[@]}" wl-paste --list-types
        "${nobody[@]}" wl-paste --no-newline --type text/plain >copied
        cmp text copied
        wc -c <copied

        "${nobody[@]}" swaymsg floating enable, resize set 300 200, move position 50 60
        until_ok still
        sha256sum <after.ppm

        "${nobody[@]}" swaymsg exit || true # who may be gone before it has said so
        for client in foot copy events; do wait "$(<$client.pid)" && echo "$client: 0" || echo "$client: $?"; done
        happened . | sort -u
        until_ok test ! -e "$SWAYSOCK"
    """,
    shows=['"a terminal"', '"app_id": "foot"', "^text/plain$", "^4000008$", '"change": "new"', "^[0-9a-f]{64}"],
)

SCENARIOS = [REGISTRY, PICTURE, ANIMATED, POOLS, NESTED, XWAYLAND, MANY, SWAY_TERMINAL]


@placements(SCENARIOS)
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(PICTURE, ["socket", "socketpair", "bind", "listen", "connect", "accept4", "sendmsg", "recvmsg"])
