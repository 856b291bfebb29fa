/*
 * runner.yaml and the environment, checked and with all defaults filled in.
 *
 * Made once at start-up by one thread; constant afterwards, so any thread may read it. It owns every string in it, and
 * the loader with the plugins that it names. Precedence: options (command line) > environment > file > default.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loader.h"

#define CONFIG_FILE_MAX   (256 * 1024) /* bytes of runner.yaml */
#define CONFIG_HOSTS_MAX  64
#define CONFIG_LISTEN_MAX 16
#define CONFIG_VMMS_MAX   4 /* candidates of a host */

struct config_listen {
    char *text; /* as configured: "0.0.0.0:3005", "[::]:3005", "unix:/run/runner-ch/api.sock" */
    char *path; /* unix socket; NULL for TCP */
    char *host; /* TCP: IP address, IPv6 without its brackets; NULL for unix */
    uint16_t port;
};

enum config_orphans { CONFIG_ORPHANS_KEEP, CONFIG_ORPHANS_REPORT, CONFIG_ORPHANS_REMOVE };

struct config_api {
    char *url;        /* base URL of the Daytona API, without trailing '/'; NULL: none (only REST, no jobs) */
    char *token;      /* Bearer token expected on TCP and sent to the API; NULL: none, then there is no TCP listener.
                         Comes from `token`, the content of `token_file` (without trailing newline) or the environment.
                         Never print it. */
    char *token_file; /* where the token was read from, or NULL */
    int64_t version;  /* 0: only REST; 2: jobs too */
    int64_t healthcheck_ms; /* between two healthchecks */
    int64_t heartbeat_ms;   /* between two signs of life of a job that takes long */
    int64_t sync_ms;        /* between two comparisons of the API's sandboxes with ours */
    int64_t orphans;        /* enum config_orphans */
    int64_t orphan_grace_ms;
    int64_t init_daemon; /* bool: daemons of guests are told the token that the API has given their sandbox */
    char *ca_file;    /* PEM: whom to trust; NULL: the system's */
    char *cert_file;  /* PEM: client certificate; NULL: none */
    char *key_file;   /* PEM: its key; NULL: in cert_file */
};

struct config_otlp {
    char *endpoint; /* base URL of a collector of traces (OTLP over HTTP, JSON), without trailing '/'; or NULL */
    char *headers;  /* "key=value,key=value" for it, or NULL. Never print it. */
    int64_t traces; /* bool: spans of jobs are sent */
};

enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

struct config_log {
    int64_t level;  /* RUNNER_LOG_ERROR .. RUNNER_LOG_DEBUG */
    int64_t format; /* enum config_log_format */
};

struct config_limits {
    int64_t body_bytes;  /* JSON body of a request */
    int64_t connections; /* open client connections, all loops together */
    int64_t queue;       /* operations waiting or running; more: 503 */
    int64_t sandboxes;   /* per host; 0: no limit */
    int64_t pulls;       /* images fetched at once, per host; more wait */
    int64_t cpus;        /* ceilings of one sandbox ... */
    int64_t memory_mb;
    int64_t disk_gb;
};

/* What the sandboxes of a host may have of it together, see capacity.h. Factors in thousandths; 0: no limit. */
struct config_capacity {
    int64_t cpu_overcommit, memory_overcommit, disk_overcommit;
    int64_t memory_reserve, disk_reserve; /* bytes that are the host's own */
    int64_t sandboxes;                    /* as limits.sandboxes */
};

struct config_timeouts { /* all in milliseconds */
    int64_t create_ms;   /* deadline of the whole operation */
    int64_t start_ms;
    int64_t stop_ms;
    int64_t stop_grace_ms; /* power button until the process is killed */
    int64_t ready_ms;      /* boot until the daemon in the guest answers */
    int64_t request_ms;    /* deadline of any other request */
    int64_t pull_ms;       /* fetching an image and making a disk of it */
    int64_t drain_ms;      /* SIGTERM: running operations may finish for so long */
};

/* One plugin chosen for a host; hand values to plugin->desc.create(). */
struct config_section {
    const struct plugin *plugin; /* NULL: none (storage; ipam, when the network hands out addresses) */
    struct runner_value *values; /* defaults filled in, paths made absolute; in the order of the plugin's table */
    size_t n_values;
    struct config_section *next; /* vmm: what is used when this one does not work, or NULL */
    char *where; /* "runner.yaml:12:5: hosts[0].disk", "default: hosts[0].disk": put before errors */
};

enum { CONFIG_INIT_AUTO, CONFIG_INIT_DAEMON };

struct config_host {
    char *name;                       /* unique; [a-z0-9-]+ */
    char *root;                       /* absolute; default /var/lib/cloud-hypervisor */
    char *run_dir;                    /* absolute; default /var/run/cloud-hypervisor */
    char *daemon;                     /* absolute path of the daemon that the seed delivers; NULL: the bundled one */
    char *snapshot;                   /* used when a create names none; NULL: then it is an error */
    int64_t cpus, memory_mb, disk_gb; /* used when a create names none */
    int64_t image_init;               /* CONFIG_INIT_*: process 1 of images that have an init of their own */
    int64_t min_memory_mb;            /* a smaller request is raised to this */
    int64_t memory_step_mb;           /* requests are rounded up to a multiple */
    struct config_capacity capacity;
    char *uids;                       /* "first-last" or "none": the users that VMMs run as */
    uint32_t first_uid, n_uids;       /* the same as numbers; n_uids 0: none */
    struct config_section sections[LOADER_KINDS + 1]; /* by kind: sections[RUNNER_DISK]; [0] is unused */
};

struct config {
    char *path; /* the file, or NULL when there was none */
    struct config_listen *listen;
    size_t n_listen;
    struct config_api api;
    struct config_log log;
    struct config_otlp otlp;
    struct config_limits limits;
    struct config_timeouts timeouts;
    char *plugin_dir;
    char *state_dir;           /* absolute: what the runner itself must not forget */
    char *domain;              /* host name or IP under which the API reaches this runner; NULL: not set */
    int64_t workers;           /* operations of a class that run at once, see pool.h */
    int64_t loops;             /* threads that serve HTTP */
    int64_t check_ms;          /* between two checks of a host's plugins */
    struct config_host *hosts; /* at least one */
    size_t n_hosts;
    struct loader *loader;         /* not NULL */
    struct config_origin *origins; /* private: where each value came from */
    size_t n_origins;
};

struct config_options {
    const char *path;                   /* NULL: no file, defaults and environment only */
    const char *plugin_dir;             /* over file and environment; NULL: not given */
    const char *const *env;             /* NAME=value, NULL-terminated; NULL: the process's own */
    const struct runner_host *services; /* handed to the plugins' load() */
};

/*
 * Reads, checks and completes the configuration; loads every plugin that a host names (load() runs, create() does not).
 * Returns 0 and *ret, or -1 when there is any error; then *ret is untouched and *ret_messages holds one line for each:
 * "file:line:column: full.key.path: expected ..., found ...\n". Environment variables are named in place of file:line.
 */
int config_load(const struct config_options *options, struct config **ret, struct str *ret_messages);
void config_free(struct config *config); /* takes NULL; wipes secrets */
CLEANUP_DEFINE(cleanup_config, struct config, config_free)
#define auto_config CLEANUP(cleanup_config)

/* Appends the effective configuration as YAML, secrets as ***, with a comment behind each value that says where it came
 * from: default, file:line, env NAME or option. The text is itself a valid runner.yaml, but for the secrets. */
void config_print(const struct config *config, struct str *ret_text);

#endif
