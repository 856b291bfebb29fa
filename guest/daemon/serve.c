#include "config.h"

#include "guest/daemon/serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/daemon/net.h"
#include "guest/daemon/process.h"
#include "guest/daemon/routes.h"
#include "guest/daemon/session.h"
#include "guest/daemon/user.h"

#define DESCRIPTORS_MAX 65536

static void raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS_MAX)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int become(const struct seed *s, struct runner_error *err)
{
    struct user u;

    if (geteuid() != 0)
        return 0;
    if (s->run_as != NULL)
        return user_parse(s->run_as, &u, err) < 0 ? -1 : user_become(&u, err);
    return s->user != NULL && user_by_name(s->user, &u) ? user_become(&u, err) : 0;
}

/* As container runtimes do it: the directory is made, by whoever starts the server. */
static void make_workdir(const char *path)
{
    auto_free char *part = mem_dup(path);

    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(part, 0755);
        *slash = '/';
    }
    (void)mkdir(part, 0755);
}

static int prepare(const struct seed *s, struct runner_error *err)
{
    if (s->workdir != NULL)
        make_workdir(s->workdir);
    if (become(s, err) < 0)
        return -1;
    seed_export(s);
    user_environment();
    if (s->workdir != NULL && chdir(s->workdir) < 0)
        return fail_errno(err, errno, "working directory '%s'", s->workdir);
    (void)umask(022);
    raise_limits();
    return 0;
}

static void on_stop(evutil_socket_t signal, short what, void *base)
{
    (void)signal;
    (void)what;
    (void)event_base_loopbreak(base);
}

/* IPv6 wildcard takes IPv4 too; a kernel without IPv6 gets the IPv4 one. */
static struct server *listen_on(struct event_base *base, const struct options *o, int port, struct runner_error *err)
{
    struct server *server =
        server_new(base, o->address == NULL ? "::" : o->address, port, routes_table, routes_count, err);

    if (server == NULL && o->address == NULL && err->sys_errno != EADDRINUSE) {
        error_clear(err);
        server = server_new(base, "0.0.0.0", port, routes_table, routes_count, err);
    }
    return server;
}

static int run(struct event_base *base, const struct options *o, const struct seed *s, struct runner_error *err)
{
    struct event *stop[] = {evsignal_new(base, SIGTERM, on_stop, base), evsignal_new(base, SIGINT, on_stop, base)};
    struct server *server = NULL;
    int status = process_init(base, err);

    if (status == 0) {
        server = listen_on(base, o, o->port < 0 ? s->port : o->port, err);
        status = server == NULL ? -1 : 0;
    }
    if (status == 0) {
        for (size_t i = 0; i < ARRAY_LEN(stop); i++)
            (void)event_add(stop[i], NULL);
        (void)printf("runner-guestd %s: port %d\n", PACKAGE_VERSION, server_port(server));
        (void)fflush(stdout);
        net_greet(&s->network);
        session_init(base, s->entrypoint);
        (void)event_base_dispatch(base);
    }
    server_free(server);
    session_done();
    process_done();
    for (size_t i = 0; i < ARRAY_LEN(stop); i++)
        event_free(stop[i]);
    return status;
}

int serve(const struct options *o, const struct seed *s)
{
    struct runner_error err = ERROR_INIT;
    struct event_base *base = event_base_new();
    int status = -1, code = 0;

    (void)signal(SIGPIPE, SIG_IGN);
    if (base == NULL)
        (void)fail(&err, RUNNER_E_NOMEM, 0, "event loop");
    else if (prepare(s, &err) < 0)
        code = SERVE_REFUSED;
    else
        status = run(base, o, s, &err);
    if (status < 0 && code == 0)
        code = 1;
    if (code != 0)
        (void)fprintf(stderr, "runner-guestd: %s\n", err.message);
    if (base != NULL)
        event_base_free(base);
    libevent_global_shutdown();
    return code;
}

int serve_other(const char *path, const struct seed *s, struct runner_error *err)
{
    char *argv[] = {(char *)(uintptr_t)path, NULL};

    if (prepare(s, err) < 0)
        return -1;
    (void)execv(path, argv);
    return fail_errno(err, errno, "run '%s'", path);
}
