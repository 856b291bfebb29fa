#!/bin/sh
# Proxied GET of a 1 KiB file, keep-alive: runner-ch's front against nginx's proxy, each alone on one core, the guest (another
# nginx) and wrk on the other. Rounds alternate; the medians' ratio is what counts. ROUNDS, SECONDS_EACH, CONNECTIONS from outside.
set -u
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-3} connections=${CONNECTIONS:-64}
driver=${top_builddir:-.}/t/http/front-driver
for program in nginx wrk taskset curl; do
    command -v $program >/dev/null || { echo "proxy.sh: needs $program"; exit 77; }
done
[ -x "$driver" ] || { echo "proxy.sh: build t/http/front-driver first"; exit 1; }
[ "$(nproc)" -ge 2 ] || { echo "proxy.sh: needs two cores"; exit 77; }

dir=$(mktemp -d /tmp/rcb.XXXXXX) || exit 1
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null; done; wait; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# config FILE SERVER: an nginx configuration of one worker, all its files below $dir.
config()
{
    cat >"$dir/$1.conf" <<END
daemon off; worker_processes 1; pid $dir/$1.pid; error_log $dir/$1.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path $dir/$1.a; proxy_temp_path $dir/$1.b; fastcgi_temp_path $dir/$1.c;
    uwsgi_temp_path $dir/$1.d; scgi_temp_path $dir/$1.e;
    $2
}
END
}

mkdir "$dir/www"
chmod 755 "$dir" "$dir/www"
head -c 1024 /dev/zero | tr '\0' x >"$dir/www/file"
config guest "open_file_cache max=10; server { listen unix:$dir/guest.sock; listen 127.0.0.1:${GUEST_PORT:-18381}; root $dir/www; }"
config proxy "upstream guest { server 127.0.0.1:${GUEST_PORT:-18381}; keepalive 256; keepalive_requests 1000000000; }
    server { listen 127.0.0.1:${PROXY_PORT:-18382}; location /sandboxes/box/toolbox/ {
        proxy_pass http://guest/; proxy_http_version 1.1; proxy_set_header Connection \"\";
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for; } }"
taskset -c 1 nginx -c "$dir/guest.conf" 2>/dev/null & pids="$pids $!"
taskset -c 0 nginx -c "$dir/proxy.conf" 2>/dev/null & pids="$pids $!"
nginx_pid=$!
taskset -c 0 "$driver" -l 127.0.0.1:0 -t secret -g "${GUEST_PORT:-18381}" -n 1 >"$dir/out" & pids="$pids $!"
front_pid=$!
path=sandboxes/box/toolbox/file
nginx_url=http://127.0.0.1:${PROXY_PORT:-18382}/$path

# await COMMAND...: until it succeeds, at most 10 s.
await()
{
    end=$(($(date +%s) + 10))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $end ] || { echo "proxy.sh: '$*' does not succeed"; exit 1; }
    done
}

await grep -q '^port ' "$dir/out"
front_url=http://127.0.0.1:$(sed -n 's/^port //p' "$dir/out" | head -n 1)/$path
await curl -fsS "$nginx_url"
curl -fsS -H 'Authorization: Bearer secret' "$front_url" | cmp -s - "$dir/www/file" || { echo "proxy.sh: wrong bytes"; exit 1; }
worker=$(pgrep -P $nginx_pid | head -n 1)

# cpu PID: its CPU time so far, in microseconds.
cpu() { awk '{ print int($1 / 1000) }' "/proc/$1/schedstat"; }
# A thread of the front: its loop, the one that worked most.
cpu_front() { cat /proc/$front_pid/task/*/schedstat | awk '{ sum += $1 } END { print int(sum / 1000) }'; }

# measure NAME URL CPU-COMMAND: a line "requests/s, CPU us a request, p50 us, p99 us" into $dir/NAME.
measure()
{
    before=$($3)
    taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" --latency -H 'Authorization: Bearer secret' "$2" >"$dir/wrk"
    after=$($3)
    awk -v cpu=$((after - before)) '
        function us(t) { return t ~ /us$/ ? t + 0 : t ~ /ms$/ ? t * 1000 : t * 1000000 }
        $1 == "50%" { p50 = us($2) } $1 == "99%" { p99 = us($2) } $2 == "requests" { n = $1 }
        /Requests\/sec/ { rate = $2 } /Non-2xx|Socket errors/ { bad = 1 }
        END { if (bad || n == 0) exit 1; printf "%d %.2f %d %d\n", rate, cpu / n, p50, p99 }' "$dir/wrk" >>"$dir/$1" ||
        { echo "proxy.sh: failed requests:"; cat "$dir/wrk"; exit 1; }
}
cpu_nginx() { cpu "$worker"; }

round=0
while [ $round -lt "$rounds" ]; do
    measure nginx "$nginx_url" cpu_nginx
    measure front "$front_url" cpu_front
    round=$((round + 1))
done

# median NAME COLUMN
median() { awk -v c="$2" '{ print $c }' "$dir/$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "proxied GET, 1 KiB, $connections connections, keep-alive, one core, median of $rounds x $seconds s"
printf '%-18s %12s %12s %12s\n' "" nginx runner-ch ratio
column=0
for name in "requests/s" "CPU us/request" "p50 us" "p99 us"; do
    column=$((column + 1))
    a=$(median nginx $column) b=$(median front $column)
    printf '%-18s %12s %12s %12s\n' "$name" "$a" "$b" "$(awk "BEGIN { printf \"%.2f\", $b / $a }")"
done
printf 'RSS of the front: %s KiB, of the nginx worker: %s KiB\n' "$(awk '/VmRSS/ { print $2 }' /proc/$front_pid/status)" \
    "$(awk '/VmRSS/ { print $2 }' "/proc/$worker/status")"
