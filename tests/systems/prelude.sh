# What the steps of every scenario begin with. $DIR is the scenario's own directory, and the working directory.
set -euo pipefail
shopt -s inherit_errexit
unset PYTHONPATH # is afunix's
cd "$DIR"

PATIENCE=20 # seconds
started=()

# start NAME PROGRAM [ARG…]: in the background, its output into NAME.log; it is ended with the steps.
start() {
    local name=$1
    shift
    "$@" >"$DIR/$name.log" 2>&1 </dev/null &
    echo $! >"$DIR/$name.pid"
    started+=("$name")
}

# finish NAME [SIGNAL]: ends what start began, with SIGTERM unless told otherwise, and waits for it.
finish() {
    local pid i name left=()
    pid=$(<"$DIR/$1.pid")
    for name in "${started[@]}"; do [[ $name == "$1" ]] || left+=("$name"); done
    started=(${left[@]+"${left[@]}"})
    kill -"${2:-TERM}" "$pid" 2>/dev/null || true
    for ((i = 0; i < PATIENCE * 20; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    if kill -0 "$pid" 2>/dev/null; then
        echo "$1 does not end"
        kill -KILL "$pid" 2>/dev/null || true
    fi
    wait "$pid" 2>/dev/null || true
}

# until_ok COMMAND [ARG…]: repeats it until it succeeds, for at most $PATIENCE seconds; its output is dropped.
until_ok() {
    local end=$((SECONDS + PATIENCE))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            echo "in vain: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}

# figure NAME VALUE UNIT: a measured number, which goes into the report and is not compared.
figure() {
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$DIR/.figures"
}

# Everything stands: tells it outside, and waits until it may go on.
stand() {
    : >"$DIR/.stands"
    until [[ -e $DIR/.go ]]; do sleep 0.02; done
}

ending() {
    local status=$? index
    trap - EXIT
    set +e
    for ((index = ${#started[@]} - 1; index >= 0; index--)); do finish "${started[index]}"; done
    exit "$status"
}
trap ending EXIT
