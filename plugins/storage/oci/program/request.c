#include "plugins/storage/oci/program/request.h"

#include <string.h>
#include <sys/stat.h>

#define PARALLEL_MAX 16
#define LAYERS_MAX   4096
#define MEMORY_MAX   (INT64_C(1) << 50)

static int read_object(const struct json *j, struct object *ret, struct runner_error *err)
{
    auto_free char *server = NULL;
    const char *text = json_text(j, "ref", NULL), *asked = json_text(j, "server", NULL);

    if (j == NULL)
        return 0;
    if (text == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "request: an object without a reference");
    if (ref_parse(text, &ret->ref, err) < 0)
        return -1;
    ret->text = text;
    server = asked != NULL ? ref_server(asked) : mem_dup(ret->ref.server);
    if (server == NULL || strcmp(server, ret->ref.server) != 0)
        return 0; /* the credentials are for somebody else */
    ret->username = json_text(j, "username", NULL);
    ret->password = json_text(j, "password", NULL);
    if (ret->username == NULL || ret->password == NULL || ret->username[0] == '\0')
        ret->username = ret->password = NULL;
    return 0;
}

static int read_operation(struct request *r, struct runner_error *err)
{
    static const char *const names[] = {"inspect", "pull", "push", "copy", "remove"};
    const char *name = json_text(r->tree, "operation", "");

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            r->operation = (enum operation)i;
            return 0;
        }
    return fail(err, RUNNER_E_INVALID, 0, "request: '%.40s' is no operation", name);
}

/* What each operation needs. */
static int check(const struct request *r, struct runner_error *err)
{
    bool needs_from = r->operation != OPERATION_PUSH;
    bool needs_to = r->operation == OPERATION_PUSH || r->operation == OPERATION_COPY;

    if ((needs_from && r->from.text == NULL) || (needs_to && r->to.text == NULL))
        return fail(err, RUNNER_E_INVALID, 0, "request: it names no object");
    if (r->store[0] != '/' || (r->operation == OPERATION_PULL && (r->dir == NULL || r->dir[0] != '/')) ||
        (r->operation == OPERATION_PUSH && (r->path == NULL || r->path[0] != '/')))
        return fail(err, RUNNER_E_INVALID, 0, "request: a path is missing or not absolute");
    if (r->parallel < 1 || r->parallel > PARALLEL_MAX || r->stall_ms < 1 || r->limits.bytes < 1 ||
        r->limits.blobs < 1 || r->limits.blobs > LAYERS_MAX || r->cache_bytes < 0 || r->uid < 0 || r->uid >= UINT32_MAX ||
        r->memory_bytes < 0 || r->memory_bytes > MEMORY_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "request: a setting is out of bounds");
    return 0;
}

int request_parse(const char *text, size_t len, struct request *ret, struct runner_error *err)
{
    struct request r = {.tree = NULL, .disk_fd = -1};

    if (json_parse(text, len, &r.tree, err) < 0)
        return error_wrap(err, "request");
    r.dir = json_text(r.tree, "dir", NULL);
    r.path = json_text(r.tree, "path", NULL);
    r.format = json_text(r.tree, "format", NULL);
    r.image_json = json_text(r.tree, "image", NULL);
    r.store = json_text(r.tree, "store", "");
    r.ca_file = json_text(r.tree, "ca_file", NULL);
    r.mirror = json_text(r.tree, "mirror", NULL);
    r.insecure = json_get(r.tree, "insecure");
    r.parallel = json_int(r.tree, "parallel", 4);
    r.cache_bytes = json_int(r.tree, "cache_bytes", 0);
    r.stall_ms = json_int(r.tree, "stall_ms", 30000);
    r.deadline_ms = json_int(r.tree, "deadline_ms", 0);
    r.uid = json_int(r.tree, "uid", 0);
    r.memory_bytes = json_int(r.tree, "memory_bytes", 0);
    r.limits.bytes = json_int(r.tree, "max_image_bytes", INT64_C(64) << 30);
    r.limits.blobs = json_int(r.tree, "max_layers", 256);
    if (read_operation(&r, err) < 0 || read_object(json_get(r.tree, "from"), &r.from, err) < 0 ||
        read_object(json_get(r.tree, "to"), &r.to, err) < 0 || check(&r, err) < 0) {
        request_done(&r);
        return -1;
    }
    *ret = r;
    return 0;
}

int request_read(struct request *ret, struct runner_error *err)
{
    auto_free char *text = mem_alloc(REQUEST_MAX + 1);
    size_t len = 0;
    ssize_t n;
    int status;

    while (len <= REQUEST_MAX && (n = read(0, text + len, REQUEST_MAX + 1 - len)) != 0) {
        if (n < 0 && errno != EINTR)
            return fail_errno(err, errno, "request: standard input");
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > REQUEST_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "request: more than %d bytes", REQUEST_MAX);
    (void)!ftruncate(0, 0); /* a memory file that others could open as well; a pipe has nothing left */
    status = request_parse(text, len, ret, err);
    explicit_bzero(text, len);
    return status;
}

void request_done(struct request *r)
{
    const char *const secrets[] = {r->from.password, r->to.password};

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (secrets[i] != NULL)
            explicit_bzero((char *)(uintptr_t)secrets[i], strlen(secrets[i]));
    ref_done(&r->from.ref);
    ref_done(&r->to.ref);
    cleanup_close(&r->disk_fd);
    json_free(r->tree);
    *r = (struct request){.tree = NULL, .disk_fd = -1};
}

bool request_has_blobs(const struct request *r)
{
    return r->operation != OPERATION_INSPECT && r->operation != OPERATION_REMOVE;
}

bool request_may_be_plain(const struct request *r, const char *server)
{
    if (ref_is_loopback(server))
        return true;
    for (const struct json *j = r->insecure != NULL ? r->insecure->first : NULL; j != NULL; j = j->next) {
        size_t len = j->type == JSON_STRING ? strlen(j->text) : 0;

        if (len > 0 && strncmp(server, j->text, len) == 0 && (server[len] == '\0' || server[len] == ':'))
            return true;
    }
    return false;
}
