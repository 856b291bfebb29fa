/* What runner-oci is asked for: one JSON object on its standard input, see README.md of the plugin. */
#ifndef OCI_REQUEST_H
#define OCI_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/json.h"
#include "plugins/storage/oci/program/manifest.h"
#include "plugins/storage/oci/program/ref.h"

#define REQUEST_MAX 60000 /* bytes */

struct object { /* an image, and who asks for it */
    struct ref ref;
    const char *text;                /* as it was given */
    const char *username, *password; /* for the server of ref; both or none: NULL */
};

enum operation { OPERATION_INSPECT, OPERATION_PULL, OPERATION_PUSH, OPERATION_COPY, OPERATION_REMOVE };

struct request {
    struct json *tree; /* owns the texts */
    enum operation operation;
    struct object from, to;                       /* without a text: not given */
    const char *dir, *path, *format, *image_json; /* PULL; PUSH */
    const char *store;                            /* the directory of the blobs; absolute, made when it is missing */
    const char *ca_file, *mirror;
    const struct json *insecure;
    int64_t parallel, cache_bytes, stall_ms, deadline_ms;
    int64_t uid, memory_bytes; /* who it shall run as, 0: as it was started; what it may use, 0: no limit */
    int disk_fd;               /* PUSH: path, once it is open; else -1 */
    struct manifest_limits limits;
};

/* Reads descriptor 0 to its end, and wipes it. */
int request_read(struct request *ret, struct runner_error *err);
int request_parse(const char *text, size_t len, struct request *ret, struct runner_error *err);
void request_done(struct request *request);

/* Whether the operation makes blobs on the host. (An inspection reads those that are there.) */
bool request_has_blobs(const struct request *request);
/* Whether that server may be spoken to in plain text. */
bool request_may_be_plain(const struct request *request, const char *server);

#endif
