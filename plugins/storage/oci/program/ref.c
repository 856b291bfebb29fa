#include "plugins/storage/oci/program/ref.h"

#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"

#define DIGITS     "0123456789"
#define LOWER      "abcdefghijklmnopqrstuvwxyz"
#define UPPER      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define REF_MAX    1024
#define PATH_MAX_  255
#define TAG_MAX    128
#define DIGEST_LEN (sizeof "sha256:" - 1 + 64)

bool ref_is_digest(const char *text)
{
    const char *hex;

    return text_starts(text, "sha256:", &hex) && strlen(hex) == 64 && strspn(hex, DIGITS "abcdef") == 64;
}

const char *ref_reference(const struct ref *ref)
{
    return ref->digest != NULL ? ref->digest : ref->tag;
}

void ref_done(struct ref *ref)
{
    free(ref->server);
    free(ref->path);
    free(ref->tag);
    free(ref->digest);
    *ref = (struct ref){.server = NULL};
}

/* ---- servers ---- */

static bool is_port(const char *text)
{
    int64_t port;

    return num_int(text, 1, 65535, &port);
}

static bool is_host(const char *text, size_t len)
{
    if (len > 2 && text[0] == '[' && text[len - 1] == ']')
        return strspn(text + 1, DIGITS "abcdef:.") == len - 2;
    return len > 0 && len <= 253 && text[0] != '-' && text[0] != '.' && strspn(text, LOWER DIGITS ".-_") >= len;
}

static size_t host_length(const char *server)
{
    const char *bracket = server[0] == '[' ? strchr(server, ']') : NULL;

    return bracket != NULL ? (size_t)(bracket + 1 - server) : strcspn(server, ":");
}

char *ref_server(const char *text)
{
    auto_free char *server = NULL;
    const char *rest;
    size_t host;

    if (text_starts(text, "https://", &rest) || text_starts(text, "http://", &rest))
        text = rest;
    server = mem_dup_n(text, strcspn(text, "/"));
    for (char *p = server; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    host = host_length(server);
    if (!is_host(server, host) || (server[host] != '\0' && (server[host] != ':' || !is_port(server + host + 1))))
        return NULL;
    if (strcmp(server, "index.docker.io") == 0 || strcmp(server, "registry-1.docker.io") == 0)
        return mem_dup(REF_DOCKER_HUB);
    rest = server;
    server = NULL;
    return (char *)(uintptr_t)rest;
}

bool ref_is_loopback(const char *server)
{
    size_t len = host_length(server);
    int64_t number;
    int dots = 0;

    if ((len == 9 && strncmp(server, "localhost", len) == 0) || (len == 5 && strncmp(server, "[::1]", len) == 0))
        return true;
    if (strncmp(server, "127.", 4) != 0 || strspn(server, DIGITS ".") < len)
        return false;
    for (const char *p = server; p < server + len; p += strcspn(p, ".:") + 1, dots++) { /* four numbers, no less */
        auto_free char *part = mem_dup_n(p, strcspn(p, ".:"));
        if (!num_int(part, 0, 255, &number))
            return false;
    }
    return dots == 4;
}

/* ---- parts ---- */

/* [a-z0-9]+ joined by '.', '_', '__' or any number of '-'. */
static bool is_component(const char *text, size_t len)
{
    size_t i = 0;

    while (i < len) {
        size_t word = strspn(text + i, LOWER DIGITS), joint;

        if (word == 0 || i + word > len)
            return false;
        i += word;
        if (i == len)
            return true;
        joint = text[i] == '-' ? strspn(text + i, "-") : text[i] == '.' ? 1 : strspn(text + i, "_");
        if (joint == 0 || (text[i] == '_' && joint > 2))
            return false;
        i += joint;
    }
    return false;
}

static int check_path(const char *path, struct runner_error *err)
{
    if (strlen(path) > PATH_MAX_)
        return fail(err, RUNNER_E_INVALID, 0, "its name has more than %d bytes", PATH_MAX_);
    for (const char *p = path;; p++) {
        size_t len = strcspn(p, "/");

        if (!is_component(p, len))
            return fail(err, RUNNER_E_INVALID, 0, "'%.*s' is no part of a name", (int)(len < 80 ? len : 80), p);
        p += len;
        if (*p == '\0')
            return 0;
    }
}

static bool is_tag(const char *tag)
{
    size_t len = strlen(tag);

    return len > 0 && len <= TAG_MAX && tag[0] != '.' && tag[0] != '-' && strspn(tag, LOWER UPPER DIGITS "_.-") == len;
}

/* Cuts ":tag", "@digest" and ":digest" off the path. */
static int cut_version(char *path, struct ref *ret, struct runner_error *err)
{
    size_t len = strlen(path);
    char *at = strchr(path, '@'), *colon;

    if (at == NULL && len > DIGEST_LEN + 1 && path[len - DIGEST_LEN - 1] == ':' &&
        ref_is_digest(path + len - DIGEST_LEN))
        at = path + len - DIGEST_LEN - 1;
    if (at != NULL) {
        if (!ref_is_digest(at + 1))
            return fail(err, RUNNER_E_INVALID, 0, "'%.80s' is no digest (sha256: and 64 hexadecimal digits)", at + 1);
        ret->digest = mem_dup(at + 1);
        *at = '\0';
    }
    colon = strrchr(path, ':');
    if (colon != NULL) {
        if (!is_tag(colon + 1))
            return fail(err, RUNNER_E_INVALID, 0, "'%.80s' is no tag", colon + 1);
        ret->tag = mem_dup(colon + 1);
        *colon = '\0';
    }
    if (ret->tag == NULL && ret->digest == NULL)
        ret->tag = mem_dup("latest");
    return 0;
}

static bool names_server(const char *text, size_t len)
{
    return text[len] == '/' && (memchr(text, '.', len) != NULL || memchr(text, ':', len) != NULL ||
                                (len == 9 && strncmp(text, "localhost", len) == 0));
}

static int parse(const char *text, struct ref *ret, struct runner_error *err)
{
    size_t first = strcspn(text, "/");
    auto_free char *name = NULL, *path = NULL;

    if (strlen(text) > REF_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "it has more than %d bytes", REF_MAX);
    if (names_server(text, first)) {
        name = mem_dup_n(text, first);
        ret->server = ref_server(name);
        if (ret->server == NULL)
            return fail(err, RUNNER_E_INVALID, 0, "'%.80s' is no server", name);
        text += first + 1;
    } else {
        ret->server = mem_dup(REF_DOCKER_HUB);
    }
    path = text[0] == '/' ? mem_printf("daytona%s", text) : mem_dup(text);
    if (cut_version(path, ret, err) < 0)
        return -1;
    ret->path = strcmp(ret->server, REF_DOCKER_HUB) == 0 && strchr(path, '/') == NULL ? mem_printf("library/%s", path)
                                                                                      : mem_dup(path);
    return check_path(ret->path, err);
}

int ref_parse(const char *text, struct ref *ret, struct runner_error *err)
{
    struct ref ref = {.server = NULL};

    if (parse(text, &ref, err) < 0) {
        ref_done(&ref);
        return error_wrap(err, "reference '%.200s'", text);
    }
    *ret = ref;
    return 0;
}
