/*
 * What a process that landlock confines may still open: the files of its configuration as they were when it was made, by
 * what they are and not by their names, and what lies in the folders of its rules. It holds until the process ends.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

#define ALLOWED_MAX 128

static struct {
    dev_t dev;
    ino_t ino;
    bool may_write;
} allowed[ALLOWED_MAX];
static int n_allowed;

static void allow(const char *path, bool may_write)
{
    struct stat st;

    if (path == NULL || stat(path, &st) < 0 || n_allowed == ALLOWED_MAX)
        return;
    allowed[n_allowed].dev = st.st_dev;
    allowed[n_allowed].ino = st.st_ino;
    allowed[n_allowed++].may_write = may_write;
}

/* The folder that a socket is made in. */
static void allow_parent(const char *path)
{
    auto_free char *dir = mem_dup(path != NULL ? path : "");
    char *slash = strrchr(dir, '/');

    if (slash != NULL)
        *slash = '\0';
    if (path != NULL)
        allow(slash == NULL ? "." : slash == dir ? "/" : dir, true);
}

static const struct json *first_of(const char *key)
{
    const struct json *list = json_get(vm.config, key);

    return list != NULL && list->type == JSON_ARRAY ? list->first : NULL;
}

void landlock_apply(void)
{
    const struct json *payload = json_get(vm.config, "payload");

    if (vm.is_confined)
        return; /* what came first holds on */
    allow(json_text(payload, "kernel", NULL), false);
    allow(json_text(payload, "firmware", NULL), false);
    allow(json_text(payload, "initramfs", NULL), false);
    allow(json_text(json_get(vm.config, "serial"), "file", NULL), true);
    allow(json_text(json_get(vm.config, "console"), "file", NULL), true);
    allow_parent(json_text(json_get(vm.config, "vsock"), "socket", NULL));
    for (const struct json *disk = first_of("disks"); disk != NULL; disk = disk->next)
        allow(json_text(disk, "path", NULL), true);
    for (const struct json *rule = first_of("landlock_rules"); rule != NULL; rule = rule->next)
        allow(json_text(rule, "path", NULL), strchr(json_text(rule, "access", ""), 'w') != NULL);
    vm.is_confined = true;
}

static bool is_allowed(const char *path, bool writes)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    for (int i = 0; i < n_allowed; i++)
        if (allowed[i].dev == st.st_dev && allowed[i].ino == st.st_ino && (allowed[i].may_write || !writes))
            return true;
    return false;
}

/* It, or a folder above it. */
bool landlock_allows(const char *path, bool writes)
{
    char at[2 * PATH_MAX] = "";
    char *slash;

    if (!vm.is_confined)
        return true;
    if (path[0] != '/' && getcwd(at, PATH_MAX) != NULL)
        (void)strcat(at, "/");
    (void)snprintf(at + strlen(at), PATH_MAX, "%s", path);
    while (!is_allowed(at, writes)) {
        slash = strrchr(at, '/');
        if (slash == NULL || slash == at)
            return is_allowed("/", writes);
        *slash = '\0';
    }
    return true;
}
