/* Of check-transport: whom a process runs as, and within what limits. */
#include "t/run/check-transport.h"

static void check_ids(void)
{
    struct runner_spawn how = {
        .size = sizeof how, .pid_path = at("i.pid"), .output_path = at("i.log"), .uid = 65534, .gid = 65534};

    if (geteuid() != 0) {
        tap_ok(true, "SPAWN as another user # SKIP needs root");
        return;
    }
    (void)RUN(.kind = RUNNER_SPAWN, ARGV("/bin/sh", "-c", "id -u; id -g; id -G"), .spawn = &how);
    tap_ok(await_text(at("i.log"), "65534\n65534\n65534\n") && geteuid() == 0, "SPAWN as another user, its groups too");
}

void check_confined(void)
{
    check_ids();
}
