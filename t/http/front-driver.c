/*
 * front-driver: the HTTP server over a fake backend, for t/run/20-front.t and t/bench/proxy.sh. Prints "port N" for
 * each listener, then events; ends on SIGTERM after draining ("drained" or "cut").
 *
 * Guests: every sandbox id is the upstream given by --guest, except "missing" (no such sandbox), "stopped", "refused"
 * (unreachable), "hang" (never answers the dial) and "prefixed" (reached through /via/PORT).
 * REST: pause holds its request until a resume of the same id; create wants a string "id"; metrics are the counters.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/http/http.h"
#include "core/util/num.h"
#include "core/util/text.h"

static struct {
    const char *guest;
    struct http_server *server;
    pthread_mutex_t lock;
    struct http_request *held; /* under lock */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct job {
    void (*run)(void *);
    void *arg;
};

static void *job_main(void *arg)
{
    struct job job = *(struct job *)arg;

    free(arg);
    job.run(job.arg);
    return NULL;
}

static int fake_submit(void *ctx, const char *id, void (*run)(void *), void *arg)
{
    struct job *job = mem_alloc(sizeof *job);
    pthread_attr_t attr;
    pthread_t thread;
    int status;

    (void)ctx;
    (void)id;
    *job = (struct job){run, arg};
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    status = pthread_create(&thread, &attr, job_main, job);
    pthread_attr_destroy(&attr);
    if (status != 0)
        free(job);
    return status == 0 ? 0 : -1;
}

static int guest_connect(struct http_dialed *ret, struct runner_error *err)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    const char *path;
    bool is_local = text_starts(fake.guest, "unix:", &path);
    auto_close int fd = socket(is_local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t port = 0;
    int status;

    if (is_local) {
        strncpy(local.sun_path, path, sizeof local.sun_path - 1);
        status = connect(fd, (struct sockaddr *)&local, sizeof local);
    } else {
        (void)num_int(fake.guest, 1, 65535, &port);
        tcp.sin_port = htons((uint16_t)port);
        status = connect(fd, (struct sockaddr *)&tcp, sizeof tcp);
    }
    if (status < 0)
        return fail(err, RUNNER_E_UNREACHABLE, errno, "connect to the guest");
    ret->fd = fd;
    fd = -1;
    return 0;
}

static int fake_dial(void *ctx, const char *id, int port, int64_t timeout_ms, struct http_dialed *ret,
                     struct runner_error *err)
{
    (void)ctx;
    if (strcmp(id, "missing") == 0)
        return fail(err, RUNNER_E_NOTFOUND, 0, "sandbox '%s'", id);
    if (strcmp(id, "stopped") == 0)
        return fail(err, RUNNER_E_INVALID, 0, "sandbox '%s' has no address. Is the Sandbox started?", id);
    if (strcmp(id, "refused") == 0)
        return fail(err, RUNNER_E_UNREACHABLE, ECONNREFUSED, "dial");
    if (strcmp(id, "hang") == 0) {
        (void)poll(NULL, 0, (int)timeout_ms * 2);
        return fail(err, RUNNER_E_TIMEOUT, 0, "dial");
    }
    if (strcmp(id, "prefixed") == 0)
        (void)snprintf(ret->prefix, sizeof ret->prefix, "/via/%d", port);
    (void)snprintf(ret->host, sizeof ret->host, "guest:%d", port);
    return guest_connect(ret, err);
}

static void say(const char *what, const char *id)
{
    printf("%s %s\n", what, id);
    fflush(stdout);
}

static void reply_held(void *arg)
{
    http_reply(arg, 200, "application/json", "\"paused\"", 8);
}

/* Resume: answers the held pause from another thread. */
static void release_held(void)
{
    struct http_request *held;

    pthread_mutex_lock(&fake.lock);
    held = fake.held;
    fake.held = NULL;
    pthread_mutex_unlock(&fake.lock);
    if (held != NULL)
        (void)fake_submit(NULL, "", reply_held, held);
}

static void reply_metrics(struct http_request *request)
{
    struct http_stats stats;
    struct str text = STR_INIT;

    http_stats(fake.server, &stats);
    json_open(&text, NULL, '{');
    json_add_int(&text, "connections", (int64_t)stats.connections);
    json_add_int(&text, "requests", (int64_t)stats.requests);
    json_add_int(&text, "unauthorized", (int64_t)stats.unauthorized);
    json_add_int(&text, "proxied", (int64_t)stats.proxied);
    json_add_int(&text, "dials", (int64_t)stats.dials);
    json_add_int(&text, "open", (int64_t)stats.open);
    json_add_int(&text, "upgraded", (int64_t)stats.upgraded);
    json_close(&text, '}');
    http_reply_json(request, 200, &text);
}

static void reply_create(struct http_request *request)
{
    const char *id = json_text(request->body, "id", NULL);
    struct str text = STR_INIT;

    if (id == NULL) {
        http_reply_field(request, "id", "a text is needed");
        return;
    }
    json_open(&text, NULL, '{');
    json_add_text(&text, "id", id);
    json_close(&text, '}');
    http_reply_json(request, 201, &text);
}

static void reply_log(struct http_request *request)
{
    auto_free char *tail = http_query(request, "tail");

    http_reply(request, 200, "text/plain", tail != NULL ? tail : "all", strlen(tail != NULL ? tail : "all"));
}

static void reply_failed(struct http_request *request)
{
    struct runner_error err = ERROR_INIT;

    (void)fail(&err, RUNNER_E_NOSPACE, ENOSPC, "write '/x'");
    http_reply_error(request, &err);
}

static void fake_handle(void *ctx, struct http_request *request)
{
    static const char index[] = "{\"status\":\"ok\",\"version\":\"test\"}";

    (void)ctx;
    switch (request->route) {
    case HTTP_INDEX:
        http_reply(request, 200, "application/json", index, strlen(index));
        break;
    case HTTP_METRICS:
        reply_metrics(request);
        break;
    case HTTP_SANDBOX_CREATE:
        reply_create(request);
        break;
    case HTTP_SANDBOX_LOG:
        reply_log(request);
        break;
    case HTTP_SANDBOX_START:
        reply_failed(request);
        break;
    case HTTP_SANDBOX_PAUSE:
        pthread_mutex_lock(&fake.lock);
        fake.held = request;
        say("held", request->id); /* under the lock: who reads it may have it released at once */
        pthread_mutex_unlock(&fake.lock);
        break;
    case HTTP_SANDBOX_RESUME:
        release_held();
        http_reply(request, 200, "application/json", "\"resumed\"", 9);
        break;
    case HTTP_SANDBOX_DESTROY:
        http_forget(fake.server, request->id, true);
        http_reply(request, 200, "application/json", "\"destroyed\"", 11);
        break;
    default:
        http_reply(request, 200, "application/json", "\"ok\"", 4);
    }
}

/* Answers this one and no other: once "gone" is said, the next may be held. */
static void fake_gone(void *ctx, struct http_request *request)
{
    bool is_held;

    (void)ctx;
    pthread_mutex_lock(&fake.lock);
    is_held = fake.held == request;
    if (is_held)
        fake.held = NULL;
    pthread_mutex_unlock(&fake.lock);
    say("gone", request->id);
    if (is_held)
        (void)fake_submit(NULL, "", reply_held, request);
}

static int64_t *config_number(struct http_config *config, const char *name)
{
    const struct {
        const char *name;
        int64_t *at;
    } numbers[] = {
        {"head_ms", &config->head_ms},           {"idle_ms", &config->idle_ms}, {"dial_ms", &config->dial_ms},
        {"response_ms", &config->response_ms},   {"body_ms", &config->body_ms}, {"linger_ms", &config->linger_ms},
        {"pool_idle_ms", &config->pool_idle_ms},
    };

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (strcmp(numbers[i].name, name) == 0)
            return numbers[i].at;
    return NULL;
}

static void config_option(struct http_config *config, char *option)
{
    char *equals = strchr(option, '=');
    int64_t *at, value = 0;

    if (equals == NULL || !num_int(equals + 1, 0, INT64_MAX, &value))
        goto usage;
    *equals = '\0';
    at = config_number(config, option);
    if (at == NULL)
        goto usage;
    *at = value;
    return;
usage:
    fprintf(stderr, "front-driver: -o %s: NAME_ms=NUMBER of struct http_config is needed\n", option);
    exit(2);
}

/* Waits for SIGTERM, then lets what runs end. */
static void serve(const sigset_t *signals, int64_t drain_ms)
{
    int caught;

    (void)sigwait(signals, &caught);
    say(http_drain(fake.server, drain_ms) ? "drained" : "cut", "");
    release_held();
    http_stop(fake.server);
}

int main(int argc, char **argv)
{
    const struct http_backend backend = {
        .submit = fake_submit, .dial = fake_dial, .handle = fake_handle, .gone = fake_gone};
    const char *listen[8];
    struct runner_error err = ERROR_INIT;
    struct http_config config;
    int64_t drain_ms = 2000;
    sigset_t signals;
    int option;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    http_config_init(&config);
    config.listen = listen;
    while ((option = getopt(argc, argv, "l:t:g:n:c:d:o:")) != -1) {
        if (option == 'l' && config.n_listen < ARRAY_LEN(listen))
            listen[config.n_listen++] = optarg;
        else if (option == 't')
            config.token = optarg;
        else if (option == 'g')
            fake.guest = optarg;
        else if (option == 'n')
            config.loops = (unsigned)atoi(optarg);
        else if (option == 'c')
            config.conns_max = (size_t)atoi(optarg);
        else if (option == 'd')
            drain_ms = atoi(optarg);
        else if (option == 'o')
            config_option(&config, optarg);
        else
            return 2;
    }
    if (http_start(&config, &backend, &fake.server, &err) < 0) {
        fprintf(stderr, "front-driver: %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < config.n_listen; i++)
        printf("port %d\n", http_port(fake.server, i));
    fflush(stdout);
    http_listen(fake.server);
    serve(&signals, drain_ms);
    return 0;
}
