"""PipeWire and PulseAudio without sound hardware: their native protocols, which pass memory as descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "PipeWire, PulseAudio"
VERSION = (
    "echo $(pipewire --version | sed -n '2s/.* //p'), $(pulseaudio --version | sed 's/pulseaudio \\([0-9.]*\\).*/\\1/')"
)
PACKAGES = ("pipewire", "pipewire-bin", "pulseaudio", "pulseaudio-utils")

PIPEWIRE = Scenario(
    name="pipewire: objects seen by pw-cli and pw-dump, a stream's node with passed memory, many clients",
    server=r"""
        mkdir -p .config/pipewire
        sed 's/^ *//' >.config/pipewire/pipewire.conf <<'END'
            context.properties = { core.daemon = true, core.name = pipewire-0, support.dbus = false,
                default.clock.quantum = 1024, default.clock.min-quantum = 1024 }
            context.spa-libs = {
                audio.convert.* = audioconvert/libspa-audioconvert
                support.* = support/libspa-support
            }
            context.modules = [
                { name = libpipewire-module-protocol-native }
                { name = libpipewire-module-metadata }
                { name = libpipewire-module-spa-node-factory }
                { name = libpipewire-module-client-node }
                { name = libpipewire-module-access }
                { name = libpipewire-module-adapter }
                { name = libpipewire-module-link-factory }
            ]
            context.objects = [
                { factory = spa-node-factory
                  args = { factory.name = support.node.driver, node.name = driver, priority.driver = 20000 } }
                { factory = adapter
                  args = { factory.name = support.null-audio-sink, node.name = sink, media.class = Audio/Sink,
                           audio.position = [ FL FR ] } }
            ]
END
        start pipewire pipewire -c "$DIR/.config/pipewire/pipewire.conf"
        until_ok pw-cli -r pipewire-0 info 0
    """,
    steps=r"""
        stat -c '%F %n' .runtime/pipewire-0 | sort
        pw-cli info 0 | grep -E 'name:|type:'
        pw-dump | grep -o '"node.name": "[a-z]*"' | sort -u
        head -c 400000 /dev/zero >silence.raw # two seconds
        format='\x10\0\0\0\1\0\2\0\x80\xbb\0\0\0\xee\2\0\4\0\x10\0'
        printf "RIFF\xa4\x1a\x06\0WAVEfmt ${format}data\x80\x1a\x06\0" >silence.wav
        cat silence.raw >>silence.wav
        start play pw-cat -p --target 0 silence.wav
        until_ok sh -c 'pw-dump | grep pw-cat'
        pw-cli ls Node | grep -c 'node.name = "pw-cat"'
        jobs=()
        for i in 1 2 3 4 5 6; do (pw-cli info 0 | grep -c 'pipewire-0') & jobs+=($!); done
        wait "${jobs[@]}"
        finish play INT
        until_ok sh -c '! pw-dump | grep pw-cat'
        echo "played"
        PIPEWIRE_REMOTE=missing pw-cli info 0 2>&1 || echo "status $?"
    """,
    shows=['"node.name": "sink"', "^played$"],
)

PULSEAUDIO = Scenario(
    name="pulseaudio: pactl, a null sink, a stream through shared memory, a recording, many clients",
    long=True,
    server=r"""
        start pulse pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no \
            --realtime=no --high-priority=no \
            -L "module-native-protocol-unix socket=$DIR/p auth-anonymous=1" -L 'module-null-sink sink_name=null' \
            -L 'module-always-sink'
        until_ok pactl -s "unix:$DIR/p" info
    """,
    steps=r"""
        export PULSE_SERVER=unix:$DIR/p
        stat -c %F p
        pactl info | grep -E '^(Server String|Server Protocol|Server Name|Default Sink|Is Local)'
        pactl list short sinks | cut -f2,4
        pactl load-module module-null-sink sink_name=second >module
        pactl list short sinks | cut -f2,4
        pactl set-sink-volume second 50%
        pactl get-sink-volume second | grep -o '50%' | head -n 1
        head -c 200000 /dev/urandom >noise
        pacat --raw --latency-msec=50 --device=null --rate=44100 noise && echo played
        (parec --raw --latency-msec=50 --device=null.monitor 2>/dev/null || true) | head -c 100000 | wc -c
        start subscribed pactl subscribe
        until_ok sh -c 'pactl list short clients | grep -c pactl'
        jobs=()
        for i in 1 2 3 4 5 6; do (pactl stat | grep -c 'Currently in use') & jobs+=($!); done
        wait "${jobs[@]}"
        pactl unload-module "$(<module)"
        until_ok grep "'remove' on sink" subscribed.log
        grep -o "'remove' on sink" subscribed.log | head -n 1
        pactl exit
        until_ok sh -c '! test -S p'
        pactl info 2>&1 || echo "status $?"
    """,
    shows=["^null\t", "^second\t", "^50%$", "^played$", "^100000$", "'remove' on sink", "Connection refused"],
)


@placements([PIPEWIRE, PULSEAUDIO])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(PIPEWIRE, ["bind", "listen", "connect", "accept4", "sendmsg", "recvmsg"])
