/* Snapshots: three files in a directory, and machines made of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

#define FILE_MAX (1 << 20)

static const char *url_path(const char *url, struct cause *c, const char *first)
{
    struct stat st;

    if (strncmp(url, "file://", 7) != 0) {
        auto_free char *text = mem_printf("Could not extract path from URL: %s", url);

        cause_set(c, first, "Failed to send migratable component snapshot", text, NULL);
        return NULL;
    }
    if (stat(url + 7, &st) < 0 || !S_ISDIR(st.st_mode)) {
        auto_free char *text = mem_printf("Destination is not a directory: \"%s\"", url + 7);

        cause_set(c, first, "Failed to send migratable component snapshot", text, NULL);
        return NULL;
    }
    return url + 7;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

static int file_new(const char *dir, const char *name, const char *what, int *ret_fd, struct cause *c)
{
    auto_free char *path = mem_printf("%s/%s", dir, name);
    auto_free char *text = mem_printf("Error creating %s", what);
    int fd = landlock_allows(dir, true) ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;

    if (!landlock_allows(dir, true))
        errno = EACCES;
    if (fd < 0)
        return cause_errno(c, errno, "Cannot send VM snapshot", "Failed to send migratable component snapshot", text,
                           NULL);
    *ret_fd = fd;
    return 0;
}

static int file_save(const char *dir, const char *name, const char *what, const struct str *text, struct cause *c)
{
    auto_close int fd = -1;

    if (file_new(dir, name, what, &fd, c) < 0)
        return -1;
    return write(fd, text->ptr, text->len) == (ssize_t)text->len
               ? 0
               : cause_errno(c, errno, "Cannot send VM snapshot", "Failed to send migratable component snapshot", NULL);
}

/* Memory that lies in shared files is not saved. */
static int64_t saved_memory(void)
{
    struct json *zones = tree_member(tree_member(vm.config, "memory"), "zones");
    int64_t size = config_memory(vm.config);

    for (struct json *zone = zones != NULL ? zones->first : NULL; zone != NULL; zone = zone->next)
        if (json_bool(zone, "shared", false) && json_text(zone, "file", NULL) != NULL)
            size -= json_int(zone, "size", 0);
    return size;
}

static void write_component(struct str *out, const char *name, const char *state)
{
    json_open(out, name, '{');
    str_add(out, "\"snapshots\":{}");
    json_open(out, "snapshot_data", '{');
    json_add_text(out, "state", state);
    json_close(out, '}');
    json_close(out, '}');
}

static void write_state(struct str *out)
{
    auto_str struct str ranges = STR_INIT;
    auto_str struct str guest = STR_INIT;

    if (saved_memory() > 0)
        str_addf(&ranges, "{\"memory_ranges\":{\"data\":[{\"gpa\":0,\"length\":%lld}]}}", (long long)saved_memory());
    else
        str_add(&ranges, "{\"memory_ranges\":{\"data\":[]}}");
    json_open(out, NULL, '{');
    json_open(out, "snapshots", '{');
    fguest_save(&guest);
    write_component(out, "memory-manager", ranges.ptr);
    write_component(out, "guest", guest.ptr); /* where the real one has its processors */
    json_close(out, '}');
    json_open(out, "snapshot_data", '{');
    json_add_text(out, "state", "{\"clock\":null,\"common_cpuid\":[]}");
    json_close(out, '}');
    json_close(out, '}');
}

int snapshot_save(const char *url, struct cause *c)
{
    auto_str struct str config = STR_INIT;
    auto_str struct str state = STR_INIT;
    auto_close int memory = -1;
    const char *dir;

    event_say("vm", "snapshotting", NULL, NULL);
    if (vm.state != VM_PAUSED)
        return cause_set(c, "Cannot snapshot VM", "Failed to snapshot migratable component",
                         "Trying to snapshot while VM is running", NULL);
    event_say("vm", "snapshotted", NULL, NULL); /* before anything is written */
    dir = url_path(url, c, "Cannot send VM snapshot");
    if (dir == NULL)
        return -1;
    json_open(&config, NULL, '{');
    schema_write(&object_vm, vm.config, &config);
    json_close(&config, '}');
    write_state(&state);
    if (file_save(dir, "config.json", "VM config snapshot file", &config, c) < 0 ||
        file_save(dir, "state.json", "VM state snapshot file", &state, c) < 0)
        return -1;
    if (saved_memory() == 0)
        return 0;
    if (file_new(dir, "memory-ranges", "memory snapshot file", &memory, c) < 0)
        return -1;
    return ftruncate(memory, saved_memory()) == 0
               ? 0
               : cause_errno(c, errno, "Cannot send VM snapshot", "Failed to send migratable component snapshot", NULL);
}

/* ---- restoring --------------------------------------------------------------------------------------------------- */

#define RECEIVE "Cannot restore VM", "Failed to receive migratable component snapshot"

static int file_load(const char *dir, const char *name, const char *what, struct str *ret, struct cause *c)
{
    auto_free char *path = mem_printf("%s/%s", dir, name);
    auto_free char *text = mem_printf("Error opening %s snapshot file \"%s\"", what, path);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return cause_errno(c, errno, RECEIVE, text, NULL);
    str_reserve(ret, FILE_MAX);
    n = read(fd, ret->ptr, FILE_MAX);
    ret->len = n > 0 ? (size_t)n : 0;
    ret->ptr[ret->len] = '\0';
    return 0;
}

static int load_config(const char *dir, struct json **ret, struct cause *c)
{
    auto_str struct str text = STR_INIT;
    auto_str struct str error = STR_INIT;

    if (file_load(dir, "config.json", "VM config", &text, c) < 0)
        return -1;
    if (schema_read(&object_vm, text.ptr, text.len, ret, &error) < 0)
        return cause_set(c, RECEIVE, "Error deserialising VM config snapshot", error.ptr, NULL);
    return 0;
}

static int load_state(const char *dir, struct cause *c)
{
    auto_str struct str text = STR_INIT;
    struct json *state = NULL;
    const struct json *guest;
    int r = 0;

    if (file_load(dir, "state.json", "VM state", &text, c) < 0)
        return -1;
    if (json_parse(text.ptr, text.len, &state, NULL) < 0)
        return cause_set(c, RECEIVE, "Error deserialising VM state snapshot", "expected value at line 1 column 1",
                         NULL);
    if (json_get(state, "snapshots") == NULL)
        r = cause_setf(c, NULL, "missing field `snapshots` at line 1 column %zu", text.len);
    if (r < 0)
        cause_wrap(c, RECEIVE, "Error deserialising VM state snapshot", NULL);
    guest = json_get(json_get(json_get(state, "snapshots"), "guest"), "snapshot_data");
    fguest_load(json_text(guest, "state", ""));
    json_free(state);
    return r;
}

static int64_t count(const struct json *list)
{
    int64_t n = 0;

    for (const struct json *item = list != NULL ? list->first : NULL; item != NULL; item = item->next)
        n++;
    return n;
}

static int64_t offered(const struct json *request, const char *id)
{
    const struct json *nets = json_get(request, "net_fds");

    for (const struct json *net = nets != NULL ? nets->first : NULL; net != NULL; net = net->next)
        if (strcmp(json_text(net, "id", ""), id) == 0)
            return json_int(net, "num_fds", 0);
    return -1;
}

static int check_fds(const struct json *request, struct json *nets, struct cause *c)
{
    for (struct json *net = nets != NULL ? nets->first : NULL; net != NULL; net = net->next) {
        int64_t wanted = count(json_get(net, "fds")), got = offered(request, json_text(net, "id", ""));

        if (wanted > 0 && got < 0)
            return cause_setf(c, "Failed to validate config", "Net id %s is associated with FDs and is required",
                              json_text(net, "id", ""));
        if (wanted > 0 && got != wanted)
            return cause_setf(c, "Failed to validate config",
                              "Number of Net FDs passed for '%s' during Restore: %lld. Expected: %lld",
                              json_text(net, "id", ""), (long long)got, (long long)wanted);
    }
    return 0;
}

/* The descriptors go, in the order of the request, to the nets that had some. */
static void give_fds(const struct json *request, struct fds *fds, struct json *nets)
{
    const struct json *offer = json_get(request, "net_fds");
    int at = 0;

    for (const struct json *one = offer != NULL ? offer->first : NULL; one != NULL; one = one->next) {
        struct fds part = {.n = (int)json_int(one, "num_fds", 0)};

        memcpy(part.fd, fds->fd + at, (size_t)part.n * sizeof part.fd[0]);
        at += part.n;
        for (struct json *net = nets != NULL ? nets->first : NULL; net != NULL; net = net->next)
            if (strcmp(json_text(net, "id", ""), json_text(one, "id", "")) == 0 && tree_member(net, "fds") != NULL) {
                tree_set_text(net, "fds", NULL);
                (void)device_take_fds(net, &part);
            }
    }
    fds->n = 0;
}

static int check_memory_file(const char *dir, struct cause *c)
{
    auto_free char *path = mem_printf("%s/memory-ranges", dir);

    if (saved_memory() == 0 || access(path, R_OK) == 0)
        return 0;
    return cause_errno(c, errno, "Memory manager error", "Error opening snapshot file", NULL);
}

static int build(const char *dir, struct cause *c)
{
    if (vm_consoles_open(c) < 0 || check_memory_file(dir, c) < 0 || vm_start(c, true) < 0)
        return -1;
    event_say("vm", "restoring", NULL, NULL);
    event_say("vm", "restored", NULL, NULL);
    return 0;
}

int snapshot_restore(const struct json *request, struct fds *fds, struct cause *c)
{
    const char *dir = url_path(json_text(request, "source_url", ""), c, "Cannot restore VM");
    struct json *config = NULL;

    if (dir == NULL || load_config(dir, &config, c) < 0)
        return -1;
    if (json_bool(request, "prefault", false) && strcmp(json_text(request, "memory_restore_mode", ""), "OnDemand") == 0)
        cause_set(c, "Failed to validate config", "'prefault' cannot be combined with 'memory_restore_mode=ondemand'",
                  NULL);
    else if (check_fds(request, tree_member(config, "net"), c) == 0 && load_state(dir, c) == 0) {
        vm.config = schema_fill(&object_vm, config);
        give_fds(request, fds, tree_member(vm.config, "net"));
    }
    json_free(config);
    if (vm.config == NULL)
        return -1;
    if (build(dir, c) < 0) { /* the descriptors stay, as those of the real one do */
        vm_stop();
        json_free(vm.config);
        vm.config = NULL;
        event_say("vm", "deleted", NULL, NULL);
        return -1;
    }
    if (json_bool(request, "resume", false)) {
        event_say("vm", "resuming", NULL, NULL);
        vm.state = VM_RUNNING;
        event_say("vm", "resumed", NULL, NULL);
    }
    return 0;
}
