# . there.sh after lib-host.sh: scripts that run in the host, and whose points are taken over here.
#   there SECONDS SCRIPT      of the source folder
#   there_env="NAME=VALUE..." what they find in their environment beside top_srcdir; no blanks in a value
there_status=
there_out=$dir/there

run_there() { # SECONDS SCRIPT
    there_status=0
    on_host "$1" "cd /tmp && top_srcdir=/t/src $there_env \$(head -n 1 /t/src/$2 | cut -c3-) /t/src/$2" \
        >"$there_out" 2>&1 || there_status=$?
}

# What was there when a script did not come to its end.
found_there() {
    cat "$there_out"
    on_host 60 'ps -eLo pid,comm,stat,wchan:20,time --sort=-time | head -n 12
        for file in /tmp/runner-t.*/{runner.log,root/sandboxes/*/*.log}; do
            [ ! -s "$file" ] || { echo "$file:"; tail -c 4000 "$file"; }
        done'
    echo "the machine:"
    host_last_words
}

# Such a machine panics, or a guest in it stands still, now and then: a script that has no end, and found no fault until then,
# is what the boot of a machine is (README.md).
broke_off() { [ "$there_status" -gt 1 ] && ! grep -q '^not ok' "$there_out"; }

run_there_surely() { # SECONDS SCRIPT
    run_there "$@"
    [ "$there_status" -gt 1 ] || return 0
    diag "${2##*/} did not come to its end, status $there_status:"$'\n'"$(found_there 2>&1 | tr -d '\0\r')"
    restart_host # nothing of it is in the way of the next script
    if broke_off; then
        skip "${2##*/} broke off in a first machine and ran in a second: the log of the test has what was found" 1
        run_there "$@"
    fi
}

take_over() { # PREFIX
    local line
    while IFS= read -r line; do
        case $line in
        'ok '*' # SKIP '*) skip "$1: ${line#* # SKIP }" 1 ;;
        'ok '*) report 0 "$1: ${line#* - }" ;;
        'not ok '*) report 1 "$1: ${line#* - }" ;;
        1..0*SKIP*) skip "$1: ${line#*SKIP }" 1 ;;
        1..*) ;;
        '#'*) echo "$line" ;;
        *) echo "# $line" ;;
        esac
    done <"$there_out"
}

there() { # SECONDS SCRIPT
    local prefix=${2##*/}
    run_there_surely "$@"
    take_over "$prefix"
    # Whatever is missing, the machine having died too, ends without a plan.
    ok "$prefix ran to its end" [ "$there_status" -le 1 ]
    ok "$prefix has a plan" grep -q '^1\.\.' "$there_out"
}
