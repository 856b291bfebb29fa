# Daytona's published toolbox client, on top of lib.sh: . lib-client.sh after it. npm brings it once, into the cache.
#   run_client BASE           one test for each thing the client does; a skip, with the reason, where it cannot be had.
#                             BASE: see toolbox-client.mjs
client_version=0.161.0

run_client() {
    local at=${XDG_CACHE_HOME:-$HOME/.cache}/runner-ch/toolbox-api-client-$client_version line client_status new
    if ! command -v npm >/dev/null; then
        skip "npm is not installed" 1
        return
    fi
    if [ ! -d "$at/node_modules/@daytonaio/toolbox-api-client" ]; then
        # Made beside and renamed: another test may be doing the same.
        mkdir -p "${at%/*}" && new=$(mktemp -d "$at.XXXXXX") && echo '{"private": true}' >"$new/package.json"
        if ! timeout 120 npm install --prefix "$new" --no-audit --no-fund --loglevel=error --fetch-retries=1 \
            "@daytonaio/toolbox-api-client@$client_version" >"$dir/npm.log" 2>&1; then
            rm -rf "$new"
            skip "npm cannot install @daytonaio/toolbox-api-client: $(grep -am1 -E 'code|error' "$dir/npm.log" || echo 'no answer in 120 s')" 1
            return
        fi
        mv -T "$new" "$at" 2>/dev/null || rm -rf "$new" # that one was quicker
    fi
    client_status=0
    timeout 300 node "$top_srcdir/t/run/toolbox-client.mjs" "$1" "$at" >"$dir/client.log" 2>&1 || client_status=$?
    while read -r line; do
        case $line in
        ok\ -\ *) report 0 "client: ${line#ok - }" ;;
        not\ ok\ -\ *) report 1 "client: ${line#not ok - }" ;;
        *) diag "$line" ;;
        esac
    done <"$dir/client.log"
    grep -q '^ok' "$dir/client.log" && [ $client_status -eq 0 ]
    report $? "client: all of it ran"
}
