"""Emacs as a server, asked by emacsclient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "Emacs server"
VERSION = "emacs --version | sed -n '1s/.* //p'"
PACKAGES = ("emacs-nox",)

SERVER = r"""
    start emacs emacs -Q --eval "(setq server-socket-dir \"$DIR/.runtime\")" --fg-daemon=served
    until_ok emacsclient -s "$DIR/.runtime/served" -e t
"""

EDITING = Scenario(
    name="emacsclient: expressions, large values, an edited file that is waited for, many at once, the end",
    server=SERVER,
    steps=r"""
        client() { emacsclient -s "$DIR/.runtime/served" "$@"; }
        client -e '(+ 1 2)' '(concat "a" "b c")'
        client -e '(make-string 200000 ?x)' | wc -c
        client -e '(car (list))' '(error "it is wrong")' 2>&1 || echo "status $?"
        echo 'first line' >file
        client "$DIR/file" >waited &
        until_ok sh -c "emacsclient -s '$DIR/.runtime/served' -e '(buffer-live-p (get-buffer \"file\"))' | grep t"
        client -e '(with-current-buffer "file" (goto-char (point-max)) (insert "second line\n")
            (save-buffer) (server-edit))' >/dev/null
        wait $!
        cat waited file
        jobs=()
        for i in 1 2 3 4 5 6 7 8; do (client -e "(* $i $i)" >value.$i) & jobs+=($!); done
        wait "${jobs[@]}"
        cat value.*
        echo 'from standard input' >input
        client -e '(with-temp-buffer (insert-file-contents (expand-file-name "input" "'"$DIR"'")) (buffer-string))'
        client -e '(process-contact (car (process-list)) :family)' '(kill-emacs)'  2>&1 || true
        until_ok sh -c '! test -S .runtime/served'
        (client -e t 2>&1 || true) | sed 's/^[^:]*: //' | head -n 1
    """,
    shows=["^3$", '^"ab c"$', "^200003$", "it is wrong", "^second line$", "^64$"],
)


@placements([EDITING])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    steps = EDITING.steps.partition("client -e '(process-contact")[0]
    lasting = Scenario(name=EDITING.name, server=EDITING.server, steps=steps, shows=EDITING.shows)
    nothing_on_the_host(lasting, ["bind", "listen", "connect", "accept4", "sendto", "read"])
