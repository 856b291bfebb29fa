#!/usr/bin/env bash
# takes: 15 s
# References as the API and users write them (contract 7.2): with and without a server, its port, a tag, a digest.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99

use_shelf
own_ports
start_runner || exit 99
make_boot_kit

create() { # ID REF
    http POST /sandboxes -d "{\"id\":\"$1\",\"userId\":\"u\",\"osUser\":\"root\",\"cpuQuota\":1,\"memoryQuota\":1,
        \"storageQuota\":1,\"snapshot\":\"$2\"}"
}
is_over() { # REF
    http GET "/snapshots/info?snapshot=$1"
    [ "$code" = 200 ] || [ "$code" = 422 ]
}
pull() { # REF [MORE JSON]: until it ends
    http POST /snapshots/pull -d "{\"snapshot\": \"$1\"${2:+, $2}}"
    await 60 is_over "$1"
}
names() {
    http GET /snapshots
    grep -o '"name":"[^"]*"' <<<"$out" | cut -d '"' -f 4 | sort | tr '\n' ' '
}

hex=$(printf hub | sha256sum | cut -c 1-64)
n=0
for ref in ubuntu:22.04 docker.io/ubuntu:22.04 docker.io/library/ubuntu:22.04 "docker.io/ubuntu:sha256:$hex" \
    "docker.io/ubuntu@sha256:$hex" localhost:5000/library/sandbox:1.0 localhost:5000/untagged \
    "localhost:55000/daytona/daytona-$hex:daytona" \
    localhost:55000/daytona/backup-384a4f5a-4cd7-40dd-99eb-2b33ae5c2c07:2026-11-24T02-30-20-047Z \
    registry.example.com:443/a/b/c/d/e_f/G__h:V1.2-RC_3; do
    put_on_shelf "$ref" hub
    http POST /snapshots/inspect -d "{\"snapshot\": \"$ref\", \"registry\": {\"project\": \"\", \"url\": \"docker.io\",
        \"username\": \"\", \"password\": \"\"}}"
    inspected="$code $(json hash)"
    pull "$ref"
    pulled="$code $(json name)"
    create "n$n" "$ref"
    is "'$ref': inspected, pulled, created" "$inspected, $pulled, $code" "200 $hex, 200 $ref, 201"
    http POST "/sandboxes/n$((n++))/destroy"
done
is "all of that was fetched once" "$(ls "$dir/shelf/pulls" | wc -l)" 1
moved() { # REF: what a pull makes of it once it means something else
    printf other | sha256sum | cut -c 1-64 | tr -d '\n' >"$dir/shelf/$1/digest"
    pull "$1"
    [ "$(json hash)" != "$hex" ]
}
ok "a ref without a tag is looked up anew, though its server has a port" moved localhost:5000/untagged
not_ok "one with a tag is what it was" moved docker.io/ubuntu:22.04
not_ok "as is one by digest, however that is written" moved "docker.io/ubuntu:sha256:$hex"
put_on_shelf some/app:latest hub
pull some/app:latest
ok "latest is looked up anew" moved some/app:latest
for ref in "" a//b:1 /a:1 a/ a/../b:1 :1 -x:1 "a b:1" "a%b:1" "$(printf 'x%.0s' {1..256})" 1/2/3/4/5/6/7/8/9:1; do
    refused=
    http POST /snapshots/pull -d "{\"snapshot\": \"$ref\"}"
    refused+="$code "
    http POST /snapshots/inspect -d "{\"snapshot\": \"$ref\"}"
    refused+="$code "
    create x "$ref"
    refused+=$code
    is "'${ref:0:30}' is none" "$refused" "400 400 400"
done
for ref in $(cd "$dir/shelf" && find . -name digest | sed 's|^\./||; s|/digest$||'); do
    http POST "/snapshots/remove?snapshot=$ref"
done
is "all are removed" "$(names)" "tiny "
done_testing
