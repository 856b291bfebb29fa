# TAP for shell tests (bash). A test begins with: . "${top_srcdir:-.}/t/run/lib.sh", and ends with: done_testing
#
# Tests run in a private folder $dir, which is gone afterwards whatever happens; so are processes told to at_exit.
#   ok NAME COMMAND [ARG...]         the command succeeds
#   not_ok NAME COMMAND [ARG...]     the command fails
#   is NAME GOT WANTED               equal texts
#   like NAME TEXT REGEX             grep -E finds it (unlike: does not)
#   run COMMAND [ARG...]             sets $code, $out, $err; standard input is empty
#   await SECONDS COMMAND [ARG...]   retries until it succeeds
#   at_exit COMMAND [ARG...]         run at the end, the last one first
#   need PROGRAM...                  skips the whole test unless all are there
#   skip_all REASON    skip REASON N    diag TEXT
set -u
LC_ALL=C.UTF-8
export LC_ALL
top_srcdir=${top_srcdir:-.}
top_builddir=${top_builddir:-.}
top_srcdir=$(cd "$top_srcdir" && pwd)
top_builddir=$(cd "$top_builddir" && pwd)
test_number=0
test_failed=0
test_is_done=no
exit_commands=()

dir=$(mktemp -d "${TMPDIR:-/tmp}/runner-t.XXXXXX") || exit 99

lib_quit() {
    local status=$? i
    trap - EXIT
    set +eu
    for ((i = ${#exit_commands[@]} - 1; i >= 0; i--)); do
        eval "${exit_commands[i]}" >/dev/null 2>&1
    done
    rm -rf "$dir"
    if [ $test_is_done = no ]; then
        echo "Bail out! the test ended early (exit status $status)"
        exit 99
    fi
    exit $status
}
trap lib_quit EXIT
trap 'exit 99' HUP INT TERM

at_exit() {
    local words
    printf -v words '%q ' "$@"
    exit_commands+=("$words")
}

diag() {
    printf '%s\n' "$*" | sed 's/^/# /'
}

report() { # STATUS NAME
    test_number=$((test_number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $test_number - $2"
    else
        test_failed=$((test_failed + 1))
        echo "not ok $test_number - $2"
    fi
    return "$1"
}

ok() {
    local name=$1 status=0
    shift
    "$@" >"$dir/.ok" 2>&1 || status=$?
    report $status "$name" || diag "exit status $status of: $*"$'\n'"$(tail -c 2000 "$dir/.ok" | tr -d '\0')"
}

not_ok() {
    local name=$1 status=0
    shift
    "$@" >"$dir/.ok" 2>&1 && status=1
    report $status "$name" || diag "succeeded: $*"
}

is() {
    local status=0
    [ "$2" = "$3" ] || status=1
    report $status "$1" || diag "got:    $2"$'\n'"wanted: $3"
}

like() {
    local status=0
    grep -Eq -- "$3" <<<"$2" || status=1
    report $status "$1" || diag "got:    $2"$'\n'"wanted: $3"
}

unlike() {
    local status=0
    grep -Eq -- "$3" <<<"$2" && status=1
    report $status "$1" || diag "got:      $2"$'\n'"unwanted: $3"
}

# Bytes: text is taken without its last newlines, NULs are dropped.
run() {
    code=0
    "$@" >"$dir/.out" 2>"$dir/.err" </dev/null || code=$?
    out=$(tr -d '\0' <"$dir/.out")
    err=$(tr -d '\0' <"$dir/.err")
}

# For what has no event to wait for; a test that waits for a condition, never for a time.
await() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.05
    done
}

skip() {
    local i
    for ((i = 0; i < $2; i++)); do
        test_number=$((test_number + 1))
        echo "ok $test_number # SKIP $1"
    done
}

skip_all() {
    echo "1..0 # SKIP $1"
    test_is_done=yes
    exit 0
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip_all "$program is not installed"
    done
}

done_testing() {
    echo "1..$test_number"
    test_is_done=yes
    [ $test_failed -eq 0 ]
    exit
}
