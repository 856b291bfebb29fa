/* Disks, and what all plugins have: raw copies as in t/plugin/sample, wrong in one way each. See wrong.h. */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "t/plugin/wrong/wrong.h"

/* ---- an instance ---- */

struct wrong {
    char key[64];
    char *label;
};

static struct runner_param params[] = {
    {.name = "label", .type = RUNNER_T_STRING, .dflt = "none", .doc = "any text of at most 100 bytes"},
    {.name = "key", .type = RUNNER_T_STRING, .flags = RUNNER_P_SECRET, .doc = "a password"},
};

static void destroy(void *self)
{
    struct wrong *w = self;

    if (w == NULL && !is_wrong("destroys-null"))
        return;
    if (is_wrong("crashes-half-built") && w->label[0] == '\0') /* NULL when create() failed */
        return;
    free(w->label);
    free(w);
}

static const char *text_of(const struct runner_value *values, size_t n, const char *name, size_t place)
{
    if (is_wrong("counts-values"))
        return place < n ? values[place].text : "";
    for (size_t i = 0; i < n; i++)
        if (strcmp(values[i].name, name) == 0)
            return values[i].text;
    return "";
}

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    const char *label = text_of(values, n, "label", 0), *key = text_of(values, n, "key", 1);
    struct wrong *w = calloc(1, sizeof *w);

    if (w == NULL)
        return refuse(err, RUNNER_E_NOMEM, "out of memory");
    *ret_self = w;
    if (is_wrong("refuses-default") && strcmp(label, "none") == 0)
        return refuse(err, RUNNER_E_INVALID, "label: 'none' is none");
    if (is_wrong("counts-values") && strcmp(label, "none") != 0)
        return refuse(err, RUNNER_E_INVALID, "label: not what it was");
    if (strlen(label) > 100)
        return refuse(err, is_wrong("odd-code") ? RUNNER_E_TIMEOUT : RUNNER_E_INVALID, "label: longer than 100 bytes");
    w->label = strdup(label);
    (void)snprintf(w->key, sizeof w->key, "%s", key);
    return 0;
}

/* ---- defects of a clone ---- */

static void *stay(void *arg)
{
    (void)arg;
    pause();
    return NULL;
}

static void leak(void)
{
    pthread_t thread;
    void *volatile lost = NULL;

    if (is_wrong("leaks-memory"))
        lost = malloc(24);
    if (is_wrong("leaks-descriptor"))
        (void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (is_wrong("leaks-thread") && pthread_create(&thread, NULL, stay, NULL) == 0)
        (void)pthread_detach(thread);
    (void)lost;
}

static void write_itself(const char *dir)
{
    char path[512];
    int fd;

    if (!is_wrong("writes-itself"))
        return;
    (void)snprintf(path, sizeof path, "%s/note", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

static int64_t shared_bytes; /* of the clone that is being planned: there is but one at a time, or so it thinks */

static int64_t wanted_bytes(const struct runner_disk *disk)
{
    if (!is_wrong("shares-state"))
        return disk->size_bytes;
    shared_bytes = disk->size_bytes;
    (void)usleep(200); /* the others' turn: the defect is a race, which has no event */
    return shared_bytes;
}

/* One more file, with or without its undo. */
static int add_file(struct runner_batch *batch, const char *path, bool is_undone, struct runner_error *err)
{
    struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    struct runner_step write = {RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = path, .data = "x", .len = 1,
                                .number = 0600,   .undo = is_undone ? &undo : NULL};

    return host->add(batch, &write, err) < 0 ? -1 : 0;
}

static int add_more(struct runner_batch *batch, const struct runner_disk *disk, struct runner_error *err)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/disk.note", disk->dir);
    if (is_wrong("writes-outside"))
        return add_file(batch, "/tmp/outside", true, err);
    return is_wrong("forgets-undo") ? add_file(batch, path, false, err) : 0;
}

/* ---- clone ---- */

static char *disk_path(const struct runner_disk *disk)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/disk.raw", disk->dir);
    return host_text(path);
}

static int add_clone(struct runner_batch *batch, const struct runner_disk *disk, const char *path,
                     struct runner_error *err)
{
    struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    struct runner_step copy = {RUNNER_STEP_INIT, .kind = RUNNER_CLONE, .path = disk->base->path, .to = path,
                               .number = 0600,   .undo = &undo};
    struct runner_step grow = {RUNNER_STEP_INIT, .kind = RUNNER_GROW, .path = path, .number = wanted_bytes(disk)};

    if (host->add(batch, &copy, err) < 0 || add_more(batch, disk, err) < 0 || host->add(batch, &grow, err) < 0) {
        if (is_wrong("no-code"))
            err->code = 0;
        if (is_wrong("no-message"))
            err->message[0] = '\0';
        if (is_wrong("two-lines"))
            (void)snprintf(err->message, sizeof err->message, "the step\ncould not be added");
        return -1;
    }
    return 0;
}

static int clone_disk(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_disk *disk,
                      struct runner_image *ret, struct runner_error *err)
{
    char *path = disk_path(disk), *format = host_text("raw");

    (void)self, (void)call;
    leak();
    write_itself(disk->dir);
    if (is_wrong("trusts-alloc") && path[0] != '/') /* NULL when out of memory */
        return -1;
    if (path == NULL || format == NULL)
        (void)refuse(err, RUNNER_E_NOMEM, "out of memory");
    else if (disk->base->size_bytes > disk->size_bytes && !is_wrong("cuts-base"))
        (void)refuse(err, RUNNER_E_INVALID, "the base is larger than the disk");
    else if (add_clone(batch, disk, path, err) == 0) {
        *ret = (struct runner_image){.size = ret->size, .path = path, .format = format,
                                     .size_bytes = disk->size_bytes - (is_wrong("miscounts") ? 512 : 0)};
        return 0;
    }
    host->release(path);
    if (!is_wrong("leaks-host-memory"))
        host->release(format);
    return -1;
}

/* ---- remove ---- */

/* Away with it by way of another name: which fails when it is gone already. */
static int add_removal_once(struct runner_batch *batch, const char *path, struct runner_error *err)
{
    char other[512];
    struct runner_step rename = {RUNNER_STEP_INIT, .kind = RUNNER_RENAME, .path = path, .to = other};
    struct runner_step away = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = other};

    (void)snprintf(other, sizeof other, "%s.gone", path);
    return host->add(batch, &rename, err) < 0 || host->add(batch, &away, err) < 0 ? -1 : 0;
}

static int add_removal(struct runner_batch *batch, const char *path, struct runner_error *err)
{
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    struct runner_step outside = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = "/tmp/outside"};
    char note[512];
    struct runner_step removed_note = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = note};

    if (is_wrong("removes-once"))
        return add_removal_once(batch, path, err);
    if (is_wrong("writes-outside") && host->add(batch, &outside, err) < 0)
        return -1;
    (void)snprintf(note, sizeof note, "%.*snote", (int)(strlen(path) - strlen("raw")), path);
    if (is_wrong("forgets-undo") && host->add(batch, &removed_note, err) < 0)
        return -1;
    return host->add(batch, &step, err) < 0 && !is_wrong("ignores-failure") ? -1 : 0;
}

static int remove_disk(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_disk *disk,
                       struct runner_error *err)
{
    const struct wrong *w = self;
    char path[512];

    (void)call;
    (void)snprintf(path, sizeof path, "%s/disk.raw", disk->dir);
    if (add_removal(batch, path, err) == 0)
        return 0;
    if (is_wrong("tells-secret"))
        (void)snprintf(err->message, sizeof err->message, "not removed with the key '%s'", w->key);
    return -1;
}

static const struct runner_disk_ops ops = {.clone = clone_disk, .remove = remove_disk};

static struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_DISK, NULL, ops),
    .threads = RUNNER_PARALLEL,
    .version = "0.1",
    .summary = "raw copies, in a wrong way",
    .params = params,
    .n_params = 2,
    .load = load,
    .create = create,
    .destroy = destroy,
};

WRONG_PLUGIN(plugin, params[0].doc = is_wrong("undocumented") ? NULL : params[0].doc)
