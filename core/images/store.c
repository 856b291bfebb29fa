/* Bases and names on the host: what there is, how it is made. */
#include <inttypes.h>
#include <string.h>

#include "core/batch.h"
#include "core/images/inner.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/num.h"

#define MANIFEST_MAX (64 * 1024)
#define REFS_MAX     20000 /* whose manifests are read */
#define REMOVE_MS    60000
#define NEW_PREFIX   ".new-"

char *images_base_path(const struct images *images, const char *key, const char *file)
{
    return mem_printf("%s/bases%s%s%s%s", images->host->config->root, key[0] != '\0' ? "/" : "", key,
                      file[0] != '\0' ? "/" : "", file);
}

void images_remove_dir(struct images *images, const char *dir)
{
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = dir, .to = "manifest.json"};
    struct runner_error err = ERROR_INIT;
    struct runner_call call; /* of its own: the one that failed may be over */
    struct runner_batch *batch;

    call_init_alone(&call, images->host, NULL, REMOVE_MS);
    batch = batch_new(&call);
    if (batch_run_step(&call, batch, &step, &err) < 0)
        log_event(RUNNER_LOG_WARN, "image.not_removed", "path", dir, "error", err.message, NULL);
    batch_free(batch);
    call_done(&call);
}

/* Every VMM reads it, whatever the runner's umask is. */
static int add_mode(struct runner_batch *batch, const char *path, int64_t mode, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_OWN, .path = path, .number = mode};

    return batch_add(batch, &step, err);
}

char *images_make_dir(struct images *images, struct runner_call *call, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *bases = images_base_path(images, "", "");
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .number = 0755};
    int64_t number;
    char *dir;

    pthread_mutex_lock(&images->mutex);
    number = ++images->last_dir;
    pthread_mutex_unlock(&images->mutex);
    dir = mem_printf("%s/bases/" NEW_PREFIX "%" PRId64, images->host->config->root, number);
    step.path = bases;
    step.flags = RUNNER_S_PARENTS;
    if (batch_add(batch, &step, err) >= 0 && add_mode(batch, bases, 0711, err) >= 0) {
        step.path = dir;
        step.flags = RUNNER_S_EXCL;
        if (batch_run_step(call, batch, &step, err) == 0)
            return dir;
    }
    free(dir);
    return NULL;
}

static bool exists(struct runner_call *call, const char *path)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};

    return batch_run_step(call, batch, &step, NULL) == 0 && batch_result(batch, 0)->status == 0;
}

bool images_has_base(struct images *images, struct runner_call *call, const char *key)
{
    auto_free char *path = images_base_path(images, key, "manifest.json");
    bool is_there;

    pthread_rwlock_rdlock(&images->going); /* one that goes right now has gone then */
    is_there = exists(call, path);
    pthread_rwlock_unlock(&images->going);
    return is_there;
}

/* Whether a ref is a snapshot that was not pulled: 1, 0, -1. */
static int is_own(struct images *images, struct runner_call *call, const char *ref, struct runner_error *err)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error cause = ERROR_INIT;

    if (snapshot_find(call, images->host->config->root, ref, &snapshot, &cause) == 0)
        return snapshot->base == NULL;
    if (cause.code == RUNNER_E_NOTFOUND)
        return 0;
    error_copy(err, &cause);
    return -1;
}

int images_check_name(struct images *images, struct runner_call *call, const char *ref, struct runner_error *err)
{
    for (const char *p = ref, *end = ref; *end != '\0'; p = end + 1) {
        auto_free char *part = NULL;
        int own;

        end = p + strcspn(p, "/");
        if (end - p == strlen("manifest.json") && strncmp(p, "manifest.json", (size_t)(end - p)) == 0)
            return fail(err, RUNNER_E_INVALID, 0, "snapshot '%s': a part of it is called manifest.json", ref);
        part = mem_dup_n(ref, (size_t)(end - ref));
        own = is_own(images, call, part, err);
        if (own != 0)
            return own < 0 ? -1
                           : fail(err, RUNNER_E_INVALID, 0,
                                  "'%s' is a snapshot of this host's own: no image gets the name '%s'", part, ref);
    }
    return 0;
}

/* ---- making ---- */

/* What an image says of itself is as untrusted as the object is, and wrong only for the guest, where nobody sees it. */
static int check_image(const struct json *image, struct runner_error *err)
{
    static const struct {
        const char *name;
        enum json_type type;
    } members[] = {{"user", JSON_STRING}, {"workdir", JSON_STRING}, {"init", JSON_STRING},
                   {"env", JSON_OBJECT},  {"entrypoint", JSON_ARRAY}, {"cmd", JSON_ARRAY}};
    const char *workdir = json_text(image, "workdir", "");

    if (image->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "image: expected an object, found %s", json_type_name(image->type));
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const struct json *member = json_get(image, members[i].name);

        if (member == NULL || member->type == JSON_NULL)
            continue;
        if (member->type != members[i].type)
            return fail(err, RUNNER_E_INVALID, 0, "image: %s: found %s", members[i].name,
                        json_type_name(member->type));
        for (const struct json *j = member->first; j != NULL; j = j->next)
            if (j->type != JSON_STRING)
                return fail(err, RUNNER_E_INVALID, 0, "image: %s: expected strings, found %s", members[i].name,
                            json_type_name(j->type));
    }
    return workdir[0] == '\0' || workdir[0] == '/'
               ? 0
               : fail(err, RUNNER_E_INVALID, 0, "image: workdir: '%.100s' is not absolute", workdir);
}

static int print_manifest(const char *key, const struct runner_base *base, struct str *out, struct runner_error *err)
{
    auto_json struct json *image = NULL;

    if (base->image_json != NULL && json_parse(base->image_json, strlen(base->image_json), &image, err) < 0)
        return error_wrap(err, "image");
    if (image != NULL && check_image(image, err) < 0)
        return -1;
    json_open(out, NULL, '{');
    json_add_int(out, "schema", 1);
    json_add_text(out, "base", key);
    json_open(out, "disk", '{');
    json_add_text(out, "file", base->disk);
    json_add_text(out, "format", base->format);
    json_add_int(out, "sizeBytes", base->size_bytes);
    json_close(out, '}');
    if (image != NULL)
        json_add_tree(out, "image", image);
    json_add_text(out, "digest", base->info.digest);
    json_add_int(out, "contentBytes", base->content_bytes);
    json_add_int(out, "storedBytes", base->info.size_bytes);
    json_close(out, '}');
    return out->len <= MANIFEST_MAX ? 0 : fail(err, RUNNER_E_INVALID, 0, "image: more than 64 KiB of configuration");
}

int images_keep_base(struct images *images, struct runner_call *call, const char *dir, const char *key,
                     const struct runner_base *base, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("%s/manifest.json", dir), *to = images_base_path(images, key, "");
    auto_snapshot struct snapshot *read = NULL;
    auto_str struct str text = STR_INIT;
    struct runner_step write = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .flags = RUNNER_S_SYNC, .path = path, .number = 0644};
    struct runner_step rename = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RENAME, .flags = RUNNER_S_SYNC, .path = dir, .to = to};
    auto_free char *disk = NULL;

    /* As it will be read: what cannot be used is found now. */
    if (print_manifest(key, base, &text, err) < 0 ||
        snapshot_parse(text.ptr, text.len, images->host->config->root, "new", &read, err) < 0)
        return -1;
    write.data = text.ptr;
    write.len = text.len;
    disk = mem_printf("%s/%s", dir, base->disk);
    if (batch_add(batch, &write, err) < 0 || add_mode(batch, disk, 0444, err) < 0 ||
        add_mode(batch, path, 0444, err) < 0 || add_mode(batch, dir, 0755, err) < 0 ||
        batch_run_step(call, batch, &rename, err) < 0)
        return error_wrap(err, "base '%s'", key);
    images_count_base(images, 1, base->content_bytes);
    return 0;
}

static int write_ref(struct runner_call *call, const char *dir, const struct runner_result *manifest,
                     struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("%s/manifest.json", dir);
    const struct runner_step mkdir = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_MKDIR,
                                      .flags = RUNNER_S_PARENTS,
                                      .path = dir,
                                      .number = 0755};
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .flags = RUNNER_S_SYNC,
                                      .path = path,
                                      .data = manifest->out,
                                      .len = manifest->len,
                                      .number = 0644};

    return batch_add(batch, &mkdir, err) < 0 ? -1 : batch_run_step(call, batch, &write, err);
}

int images_keep_ref(struct images *images, struct runner_call *call, const char *key, const char *ref,
                    struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *from = images_base_path(images, key, "manifest.json");
    auto_free char *dir = mem_printf("%s/snapshots/%s", images->host->config->root, ref);
    struct runner_step read = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = from, .number = MANIFEST_MAX};
    int status;

    if (images_check_name(images, call, ref, err) < 0 || batch_run_step(call, batch, &read, err) < 0)
        return -1;
    pthread_rwlock_rdlock(&images->going); /* a removal comes before or after, not between */
    status = write_ref(call, dir, batch_result(batch, 0), err);
    if (status == 0) {
        pthread_mutex_lock(&images->mutex);
        images_name(images, ref, key)->used_ms = num_wall_ms();
        pthread_mutex_unlock(&images->mutex);
    }
    pthread_rwlock_unlock(&images->going);
    return status < 0 ? error_wrap(err, "snapshot '%s'", ref) : 0;
}

/* ---- what there is ---- */

const struct runner_result *images_list_bases(struct images *images, struct runner_call *call,
                                              struct runner_batch *batch)
{
    auto_free char *path = images_base_path(images, "", "");
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = path};

    return batch_run_step(call, batch, &step, NULL) == 0 && batch_result(batch, 0)->status == 0 ? batch_result(batch, 0)
                                                                                          : NULL;
}

static bool is_half(const char *name)
{
    return strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 || strncmp(name, IMAGES_OLD_PREFIX, strlen(IMAGES_OLD_PREFIX)) == 0;
}

char *images_disk_of(struct images *images, struct runner_call *call, const char *key, int64_t *ret_bytes)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = images_base_path(images, key, "manifest.json");
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_step read = {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = path, .number = MANIFEST_MAX};
    char *disk_path;

    if (batch_run_step(call, batch, &read, NULL) < 0 ||
        snapshot_parse(batch_result(batch, 0)->out, batch_result(batch, 0)->len, images->host->config->root, "base",
                       &snapshot, NULL) < 0)
        return NULL;
    *ret_bytes = snapshot->content_bytes;
    disk_path = snapshot->disk_path;
    snapshot->disk_path = NULL;
    return disk_path;
}

/* Those that are there are counted, those half made are removed. */
static void look_at_bases(struct images *images, struct runner_call *call)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_result *names = images_list_bases(images, call, batch);

    for (const char *p = names != NULL ? names->out : NULL; p != NULL && p < names->out + names->len;
         p += strlen(p) + 1) {
        auto_free char *path = images_base_path(images, p, ""), *disk = NULL;
        int64_t bytes = 0;

        if (is_half(p))
            images_remove_dir(images, path);
        else if (snapshot_is_base_key(p) && (disk = images_disk_of(images, call, p, &bytes)) != NULL)
            images_count_base(images, 1, bytes);
    }
}

static void load_ref(struct images *images, struct runner_call *call, const char *ref)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    auto_free char *path = mem_printf("%s/snapshots/%s/manifest.json", images->host->config->root, ref);
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_step read = {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = path, .number = MANIFEST_MAX};
    struct runner_step stat = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};

    if (batch_add(batch, &read, NULL) < 0 || batch_run_step(call, batch, &stat, NULL) < 0 ||
        snapshot_parse(batch_result(batch, 0)->out, batch_result(batch, 0)->len, images->host->config->root, ref,
                       &snapshot, NULL) < 0 ||
        snapshot->base == NULL)
        return;
    pthread_mutex_lock(&images->mutex);
    images_name(images, ref, snapshot->base)->used_ms = batch_result(batch, 1)->number2 * 1000;
    pthread_mutex_unlock(&images->mutex);
}

int images_load(struct images *images, struct runner_call *call, struct runner_error *err)
{
    auto_str struct str refs = STR_INIT;
    char *save = NULL;
    bool is_loaded;
    int n = 0;

    pthread_mutex_lock(&images->load_mutex);
    is_loaded = images->is_loaded;
    if (!is_loaded && snapshot_list(call, images->host->config->root, &refs, err) == 0) {
        for (char *ref = strtok_r(refs.ptr != NULL ? refs.ptr : (char[]){""}, "\n", &save);
             ref != NULL && n < REFS_MAX; ref = strtok_r(NULL, "\n", &save), n++)
            load_ref(images, call, ref);
        look_at_bases(images, call);
        is_loaded = images->is_loaded = true;
    }
    pthread_mutex_unlock(&images->load_mutex);
    return is_loaded ? 0 : -1;
}
