#!/usr/bin/env bash
# tier: vm
# A daemon that the configuration names serves in place of the bundled one, under each of the two inits.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need_vm tiny debian
cp "$top_builddir/t/run/fake-daemon" "$dir/daemon"
start_vm_runner bridge $'    disk: {plugin: qcow2}\n    daemon: '"$dir/daemon" || die_early "the runner comes up"
is_new() { http GET "/sandboxes/$1/toolbox/self" && [ "$code" = 200 ] && [ "$(json pid)" != "$pid" ]; }
for snapshot in tiny debian; do
    id=other-$snapshot
    ok "$snapshot: create" vm_create $id --user daytona --memory 1 --env GREETING=hello
    http GET /sandboxes/$id
    is "$snapshot: the other daemon answered" "$(json daemonVersion)" other
    http GET /sandboxes/$id/toolbox/self
    pid=$(json pid)
    is "$snapshot: with the sandbox's id and environment" "$code $(json id) $(json greeting)" "200 $id hello"
    is "$snapshot: as its user, at home" "$(json uid) $(json cwd)" "1000 /home/daytona"
    http GET /sandboxes/$id/toolbox/quit
    ok "$snapshot: it is started again when it ends" await 60 is_new $id
done

# What cannot run as a program is no reason to have no daemon.
head -c 100000 /dev/urandom >"$dir/daemon"
snapshot=tiny
ok "stop" "$ctl" stop -f other-tiny
ok "start with a file that is no program" "$ctl" start other-tiny
http GET /sandboxes/other-tiny
like "the bundled daemon serves" "$(json daemonVersion)" '^[0-9]'
http GET "/sandboxes/other-tiny/log?tail=4000"
like "and the console says why" "$out" "daemon of the seed: run '/run/runner-daemon': Exec format error"
ok "rm" "$ctl" rm -f other-tiny other-debian
done_testing
