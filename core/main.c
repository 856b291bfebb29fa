/* runner-ch: the daemon. Start order: configuration, hosts, workers, HTTP, then recovery; SIGTERM reverses it. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/api.h"
#include "core/checkup.h"
#include "core/doctor.h"
#include "core/jobs-start.h"
#include "core/jobs/agent.h"
#include "core/log.h"
#include "core/op.h"
#include "core/reaper.h"
#include "core/reconcile.h"
#include "core/util/error.h"
#include "core/util/num.h"

enum {
    EXIT_CONFIG = 2,
    EXIT_SERVER = 1,
    CHECK_MS = 30000,
    CANCEL_MS = 10000,
    ANSWER_MS = 1000,
    TELL_MS = 5000,
    ARENAS = 2
};

static const char usage[] =
    "Usage: runner-ch [OPTION]...\n"
    "       runner-ch doctor [--json] [--host NAME] [OPTION]...\n"
    "Runs virtual machines for the Daytona API; doctor says what works on each host, and what mends the rest.\n\n"
    "  -c, --config FILE          configuration (default " CONFIG_DIR "/runner.yaml when it exists)\n"
    "      --plugin-dir DIR       where plugins are (default: as configured)\n"
    "      --check-config         load and check everything, start nothing\n"
    "      --print-config         print the effective configuration, secrets as ***\n"
    "      --dump-plugin KIND/NAME  print what a plugin says of itself\n"
    "      --list-plugins         print the plugins found\n"
    "      --list-operations      print the operations, each with its phases\n"
    "      --json                 doctor: as JSON\n"
    "      --host NAME            doctor: look at this host only\n"
    "  -h, --help                 this text\n"
    "  -V, --version              version\n\n"
    "Exit status: 0 stopped by a signal after draining, 1 the server failed, 2 the configuration is wrong.\n"
    "doctor: 0 nothing fails, 1 something does.\n";

struct options {
    const char *config, *plugin_dir, *dump, *host;
    bool is_check, is_print, is_list, is_ops, is_doctor, as_json;
};

static int parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},      {"plugin-dir", required_argument, NULL, 'p'},
        {"check-config", no_argument, NULL, 'C'},      {"print-config", no_argument, NULL, 'P'},
        {"dump-plugin", required_argument, NULL, 'D'}, {"list-plugins", no_argument, NULL, 'L'},
        {"list-operations", no_argument, NULL, 'O'},   {"json", no_argument, NULL, 'J'},
        {"host", required_argument, NULL, 'H'},        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},           {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            ret->config = optarg;
            break;
        case 'p':
            ret->plugin_dir = optarg;
            break;
        case 'C':
            ret->is_check = true;
            break;
        case 'P':
            ret->is_print = true;
            break;
        case 'D':
            ret->dump = optarg;
            break;
        case 'L':
            ret->is_list = true;
            break;
        case 'O':
            ret->is_ops = true;
            break;
        case 'J':
            ret->as_json = true;
            break;
        case 'H':
            ret->host = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case 'V':
            puts("runner-ch " VERSION_TEXT);
            exit(0);
        default:
            return -1;
        }
    }
    ret->is_doctor = optind < argc && strcmp(argv[optind], "doctor") == 0;
    optind += ret->is_doctor;
    if (optind < argc) {
        fprintf(stderr, "runner-ch: unexpected argument '%s'\n", argv[optind]);
        return -1;
    }
    if (!ret->is_doctor && (ret->as_json || ret->host != NULL)) {
        fprintf(stderr, "runner-ch: --%s is an option of doctor\n", ret->as_json ? "json" : "host");
        return -1;
    }
    return 0;
}

/* ---- what only prints ---- */

static const char *plugin_dir_of(const struct options *options)
{
    const char *env = getenv("RUNNER_PLUGIN_DIR");

    return options->plugin_dir != NULL ? options->plugin_dir : env != NULL ? env : PLUGIN_DIR;
}

static int dump_plugin(const struct options *options)
{
    auto_loader struct loader *loader = loader_new(plugin_dir_of(options), host_services());
    const char *slash = strchr(options->dump, '/');
    auto_free char *kind = slash != NULL ? mem_dup_n(options->dump, (size_t)(slash - options->dump)) : NULL;
    struct runner_error err = ERROR_INIT;
    auto_str struct str text = STR_INIT;
    const struct plugin *plugin;

    if (kind == NULL || loader_kind(kind) == 0) {
        fprintf(stderr, "runner-ch: --dump-plugin: expected KIND/NAME with a kind of transport, vmm, disk, network, ipam, "
                        "storage, found '%s'\n", options->dump);
        return EXIT_CONFIG;
    }
    if (loader_open(loader, loader_kind(kind), slash + 1, &plugin, &err) < 0) {
        fprintf(stderr, "runner-ch: %s\n", err.message);
        return EXIT_CONFIG;
    }
    loader_dump(plugin, &text);
    fputs(str_text(&text), stdout);
    return 0;
}

static int list_plugins(const struct options *options)
{
    auto_loader struct loader *loader = loader_new(plugin_dir_of(options), host_services());

    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++) {
        auto_str struct str names = STR_INIT;
        char *name, *next;

        loader_list(loader, kind, &names);
        for (name = names.ptr; name != NULL && *name != '\0'; name = next) {
            next = strchr(name, '\n');
            *next++ = '\0';
            printf("%s/%s\n", loader_kind_name(kind), name);
        }
    }
    return 0;
}

static int list_operations(void)
{
    auto_str struct str text = STR_INIT;

    op_list(&text);
    fputs(str_text(&text), stdout);
    return 0;
}

/* ---- the engine ---- */

static int engine_make(struct engine *engine, const struct config *config, struct runner_error *err)
{
    engine->config = config;
    engine->started_ms = num_wall_ms();
    pthread_mutex_init(&engine->ops_mutex, NULL);
    engine->hosts = mem_array(config->n_hosts, sizeof(struct host *));
    for (; engine->n_hosts < config->n_hosts; engine->n_hosts++)
        if (host_new(&config->hosts[engine->n_hosts], &engine->hosts[engine->n_hosts], err) < 0)
            return -1;
    return 0;
}

static void engine_done(struct engine *engine)
{
    for (size_t i = 0; i < engine->n_hosts; i++)
        host_free(engine->hosts[i]);
    free(engine->hosts);
    pthread_mutex_destroy(&engine->ops_mutex);
}

static int check_config(struct engine *engine)
{
    auto_str struct str problems = STR_INIT;
    int n = 0;

    for (size_t i = 0; i < engine->n_hosts; i++) {
        struct runner_call call;
        call_init(&call, engine->hosts[i], NULL, CHECK_MS);
        n += host_check(engine->hosts[i], &call, &problems);
        call_done(&call);
    }
    fputs(str_text(&problems), stderr);
    if (n == 0)
        puts("configuration is fine");
    return n == 0 ? 0 : EXIT_CONFIG;
}

/* ---- serving ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int make_parent(const char *socket_path)
{
    auto_free char *dir = mem_dup(socket_path);
    char *slash = strrchr(dir, '/');

    if (slash == NULL || slash == dir)
        return 0;
    *slash = '\0';
    return mkdir(dir, 0755) == 0 || errno == EEXIST ? 0 : -1;
}

static int start_server(struct api *api, const struct config *config, struct runner_error *err)
{
    auto_free const char **listen = mem_array(config->n_listen, sizeof(char *));
    struct http_backend backend;
    struct http_config http;

    http_config_init(&http);
    for (size_t i = 0; i < config->n_listen; i++) {
        listen[i] = config->listen[i].text;
        if (config->listen[i].path != NULL && make_parent(config->listen[i].path) < 0)
            return fail_errno(err, errno, "directory of '%s'", config->listen[i].path);
    }
    http.listen = listen;
    http.n_listen = config->n_listen;
    http.token = config->api.token;
    http.loops = (unsigned)config->loops;
    http.conns_max = (size_t)config->limits.connections;
    http.body_max = (size_t)config->limits.body_bytes;
    api_backend(api, &backend);
    return http_start(&http, &backend, &api->server, err);
}

static void log_listeners(const struct api *api, const struct config *config)
{
    for (size_t i = 0; i < config->n_listen; i++) {
        char port[16];
        (void)snprintf(port, sizeof port, "%d", http_port(api->server, i));
        log_event(RUNNER_LOG_INFO, "listen", "address", config->listen[i].text, "port",
                  config->listen[i].path != NULL ? NULL : port, NULL);
    }
}

static int64_t left_ms(int64_t end_ms)
{
    int64_t ms = end_ms - num_now_ms();

    return ms > 0 ? ms : 0;
}

/* Those that did not end in time are cancelled, undone, and their clients told. */
static size_t interrupt(struct engine *engine, struct api *api)
{
    size_t left;

    op_cancel_all(engine);
    left = pool_wait_idle(engine->pool, CANCEL_MS);
    (void)http_drain(api->server, ANSWER_MS);
    return left;
}

/* An image may take minutes, and is gone on with by the next runner. */
static void stop_fetching(struct engine *engine)
{
    for (size_t i = 0; i < engine->n_hosts; i++)
        images_cancel(engine->hosts[i]->images);
}

/* No new work, running operations end, or are undone, or stay in their records; VMs go on (D8). Afterwards nothing runs on
 * workers. */
static void drain(struct engine *engine, struct api *api)
{
    int64_t end_ms = num_now_ms() + engine->config->timeouts.drain_ms;
    size_t left;
    char text[24];

    log_event(RUNNER_LOG_INFO, "runner.draining", NULL);
    agent_drain(engine->agent);
    pool_drain(engine->pool); /* before what is under way is cancelled: no more of it begins */
    checkup_cancel(engine);
    stop_fetching(engine);
    (void)http_drain(api->server, left_ms(end_ms));
    left = pool_wait_idle(engine->pool, left_ms(end_ms));
    if (left > 0)
        left = interrupt(engine, api);
    reaper_stop(engine->reaper);
    if (left == 0)
        left = pool_wait_idle(engine->pool, left_ms(end_ms)); /* what the reaper queued meanwhile */
    (void)snprintf(text, sizeof text, "%zu", left);
    log_event(RUNNER_LOG_INFO, "runner.stopped", "unfinished", text, NULL);
    if (left > 0)
        _exit(0); /* their records tell the next start what to do, and the API which jobs it has */
    agent_stop(engine->agent, TELL_MS);
}

/* Its threads run from now on. */
static int start_engine(struct engine *engine, struct runner_error *err)
{
    const struct config *config = engine->config;

    engine->index = index_new();
    for (size_t i = 0; i < engine->n_hosts; i++)
        engine->hosts[i]->images = images_new(engine, engine->hosts[i]);
    engine->pool = pool_new((size_t)config->workers, (size_t)config->limits.queue);
    engine->reaper = engine->pool != NULL ? reaper_new(engine) : NULL;
    return engine->reaper != NULL ? 0 : fail(err, RUNNER_E_IO, 0, "cannot start threads");
}

/* Until one of these signals. The reaper's thread has ended then. */
static void serve_until(const sigset_t *stop, struct engine *engine, struct api *api)
{
    int signal_number;

    log_listeners(api, engine->config);
    reconcile_start(engine); /* before any request can be: those wait on workers until it is through */
    http_listen(api->server);
    sigwait(stop, &signal_number);
    drain(engine, api);
}

static void free_all(struct engine *engine, struct api *api)
{
    http_stop(api->server);
    if (engine->pool != NULL)
        pool_free(engine->pool);
    reaper_free(engine->reaper);
    for (size_t i = 0; i < engine->n_hosts; i++)
        images_free(engine->hosts[i]->images);
    index_free(engine->index);
}

static int serve(struct engine *engine)
{
    struct api api = {.engine = engine};
    struct runner_error err = ERROR_INIT;
    sigset_t stop;
    int status = 0;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    raise_descriptor_limit();
    (void)mallopt(M_ARENA_MAX, ARENAS); /* threads that mostly wait; an arena each would keep what each once needed */
    if (start_engine(engine, &err) == 0 && start_server(&api, engine->config, &err) == 0 &&
        jobs_start(engine, api.server, &err) == 0) {
        serve_until(&stop, engine, &api);
    } else {
        log_event(RUNNER_LOG_ERROR, "runner.failed", "error", err.message, NULL);
        status = EXIT_SERVER;
        if (engine->reaper != NULL)
            reaper_stop(engine->reaper);
    }
    free_all(engine, &api);
    return status;
}

static const char *default_config(void)
{
    static const char path[] = CONFIG_DIR "/runner.yaml";

    return access(path, F_OK) == 0 ? path : NULL;
}

int main(int argc, char **argv)
{
    struct options options = {.config = NULL};
    struct config_options load = {.services = host_services()};
    auto_config struct config *config = NULL;
    auto_str struct str messages = STR_INIT;
    struct engine engine = {.config = NULL};
    struct runner_error err = ERROR_INIT;
    int status;

    if (parse_options(argc, argv, &options) < 0) {
        fputs("Try 'runner-ch --help'.\n", stderr);
        return EXIT_CONFIG;
    }
    if (options.dump != NULL)
        return dump_plugin(&options);
    if (options.is_list)
        return list_plugins(&options);
    if (options.is_ops)
        return list_operations();
    load.path = options.config != NULL ? options.config : default_config();
    load.plugin_dir = options.plugin_dir;
    if (options.is_doctor)
        return doctor_main(&(struct doctor_options){&load, options.host, options.as_json});
    if (config_load(&load, &config, &messages) < 0) {
        fputs(str_text(&messages), stderr);
        return EXIT_CONFIG;
    }
    if (options.is_print) {
        config_print(config, &messages);
        fputs(str_text(&messages), stdout);
        return 0;
    }
    log_setup((uint32_t)config->log.level, config->log.format == CONFIG_LOG_JSON);
    umask(077);
    if (engine_make(&engine, config, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        status = EXIT_CONFIG;
    } else {
        status = options.is_check ? check_config(&engine) : serve(&engine);
    }
    engine_done(&engine);
    return status;
}
