/*
 * The record of a sandbox: sandboxes/<id>/runner.json on its host, the one truth of what it is and should be. Written
 * whole and atomically; mode 0600, since the create request in it carries the user's environment.
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/policy.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/str.h"

#define RECORD_SCHEMA 1
#define RECORD_MAX    (1024 * 1024) /* bytes */

/* What of it the request of the create leaves for the rest: an image's configuration, what a start brought, what the
 * sandbox may reach, paths, an error. Bytes as printed, and values. */
#define RECORD_REST_MAX       (192 * 1024)
#define RECORD_REST_NODES_MAX 40000
#define RECORD_IMAGE_MAX      (64 * 1024)

enum sandbox_state {
    SANDBOX_CREATING, /* not acknowledged yet: undone at start-up */
    SANDBOX_STARTED,
    SANDBOX_PAUSED, /* in memory */
    SANDBOX_STOPPED,
    SANDBOX_ERROR,    /* its VM ended unexpectedly, or it could not be read: see error */
    SANDBOX_STARTING, /* on the way; found at start-up: the VM may or may not run */
    SANDBOX_STOPPING,
    SANDBOX_DESTROYING, /* found at start-up: finished */
    SANDBOX_UNKNOWN,    /* found at start-up without a record, and not looked at yet; in memory only */
    SANDBOX_STATES
};

const char *sandbox_state_name(enum sandbox_state state);

struct record {
    char *id;
    enum sandbox_state state;
    int64_t created_ms;   /* wall clock */
    int64_t taken_over_ms; /* when it was, from another runner; 0: it is of this one's making */
    char *error;          /* why state is ERROR, or NULL */
    char *daemon_version; /* as the daemon last said, or NULL */
    char *job;            /* the API's job that was done last, or NULL */

    char *snapshot; /* ref it was made from */
    uint32_t cpus;
    int64_t memory_bytes, disk_bytes;
    int64_t disk_extra_bytes; /* what recoveries added to its disk, of which the API's quota says nothing */
    struct json *request; /* the create request as it came (an object), less its authToken and registry */
    struct json *image;   /* how its image wants to be run (struct runner_base), or NULL */
    struct json *metadata; /* what the last start brought (an object), or NULL: that of the request still holds */

    struct { /* the disk, see struct runner_image; path NULL: none yet */
        char *path, *format, *backing_path, *backing_format;
        int64_t size_bytes;
    } disk;
    struct runner_nic nic; /* size 0: none yet */
    struct policy policy;  /* what it may reach */
    struct {               /* what the VM boots; all NULL before it was planned */
        char *kernel, *initramfs, *cmdline;
        char *firmware;       /* instead of the three */
        bool has_daemon;      /* the image brings its daemon */
        bool is_ready_by_log; /* there is no daemon: the first serial output says that it is ready */
    } boot;
    struct {          /* its process */
        char *plugin; /* the VMM it runs on, or ran on last; NULL: the host's only one */
        char *cgroup; /* name, unique among runners; NULL: none */
        uint32_t uid; /* user of its own, 0: the runner's */
    } vmm;
};

struct record *record_new(const char *id);
void record_free(struct record *record); /* takes NULL */
CLEANUP_DEFINE(cleanup_record, struct record, record_free)
#define auto_record CLEANUP(cleanup_record)

void record_print(const struct record *record, struct str *out);

/* id: what the record must say. INVALID names the member that is missing or wrong; an unknown schema is refused. */
int record_parse(const char *text, size_t len, const char *id, struct record **ret, struct runner_error *err);

#endif
