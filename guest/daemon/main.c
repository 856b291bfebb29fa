#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest/daemon/init.h"
#include "guest/daemon/serve.h"

static int load_seed(const struct options *o, struct seed *ret)
{
    struct runner_error err = ERROR_INIT;
    bool is_auto = o->seed != NULL && strcmp(o->seed, "auto") == 0;

    seed_default(ret);
    if (o->seed == NULL || (is_auto ? seed_load_disk(ret, &err) : seed_load(o->seed, ret, &err)) == 0)
        return 0;
    (void)fprintf(stderr, "runner-guestd: --seed %s: %s\n", o->seed, err.message);
    return -1;
}

/* As a unit of an image with an init of its own: the daemon that the volume brings takes this one's place. */
static void try_other(const struct seed *s)
{
    struct runner_error err = ERROR_INIT;

    if (s->has_daemon && (seed_fetch_daemon(&err) < 0 || serve_other(SEED_DAEMON_COPY, s, &err) < 0))
        (void)fprintf(stderr, "runner-guestd: daemon of the seed: %s; this one serves\n", err.message);
}

int main(int argc, char **argv)
{
    struct runner_error err = ERROR_INIT;
    struct options o = {.port = -1};
    struct seed seed;
    int status;

    if (getpid() == 1) {
        init_main(&o); /* the kernel hands unknown words of its command line to init: none is an option of ours */
    }
    if (options_parse(argc, argv, &o, &err) < 0) {
        (void)fprintf(stderr, "runner-guestd: %s\n", err.message);
        return 2;
    }
    if (o.wants_help) {
        options_usage();
        return 0;
    }
    if (o.wants_version) {
        (void)printf("runner-guestd %s\n", PACKAGE_VERSION);
        return 0;
    }
    if (load_seed(&o, &seed) < 0)
        return 2;
    try_other(&seed);
    status = serve(&o, &seed);
    seed_done(&seed);
    return status;
}
