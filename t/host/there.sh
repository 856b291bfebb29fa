# . there.sh after lib-host.sh: scripts that run in the host, and whose points are taken over here.
#   there SECONDS SCRIPT      of the source folder
#   there_env="NAME=VALUE..." what they find in their environment beside top_srcdir; no blanks in a value

# Emulated, or emulated twice, what takes milliseconds elsewhere takes their hundredfold.
there() {
    local line status=0 prefix=${2##*/}
    on_host "$1" "cd /tmp && top_srcdir=/t/src $there_env \$(head -n 1 /t/src/$2 | cut -c3-) /t/src/$2" >"$dir/there" 2>&1 || status=$?
    while IFS= read -r line; do
        case $line in
        'ok '*' # SKIP '*) skip "$prefix: ${line#* # SKIP }" 1 ;;
        'ok '*) report 0 "$prefix: ${line#* - }" ;;
        'not ok '*) report 1 "$prefix: ${line#* - }" ;;
        1..0*SKIP*) skip "$prefix: ${line#*SKIP }" 1 ;;
        1..*) ;;
        '#'*) echo "$line" ;;
        *) echo "# $line" ;;
        esac
    done <"$dir/there"
    # Whatever is missing, the machine having died too, ends without a plan.
    ok "$prefix ran to its end" [ "$status" -le 1 ]
    ok "$prefix has a plan" grep -q '^1\.\.' "$dir/there"
}
