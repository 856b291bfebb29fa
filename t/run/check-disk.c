/*
 * check-disk PLUGIN-DIR NAME [PARAMETER]: a disk plugin, loaded by the runner's own loader, works on files in $TMPDIR by way
 * of transport/local; a parameter is set to true. Speaks TAP.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/loader.h"
#include "core/util/cleanup.h"
#include "t/run/plugin-host.h"

enum { BASE_BYTES = 3 << 20, DISK_BYTES = 16 << 20 };

static const struct plugin *plugin;
static void *self;
static char base_path[200], dir[200];
static struct runner_error err = ERROR_INIT;

/* A base with data at its beginning and end and a hole between. */
static void base_make(void)
{
    auto_close int fd = open(base_path, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd < 0 || ftruncate(fd, BASE_BYTES) < 0 || pwrite(fd, "first", 5, 0) != 5 ||
        pwrite(fd, "last!", 5, BASE_BYTES - 5) != 5) {
        perror(base_path);
        exit(1);
    }
}

static struct runner_disk disk_of(const struct runner_image *base)
{
    return (struct runner_disk){
        .size = sizeof(struct runner_disk), .id = "sb1", .dir = dir, .base = base, .size_bytes = DISK_BYTES};
}

static struct runner_image raw_base(int64_t size_bytes)
{
    return (struct runner_image){.size = sizeof(struct runner_image),
                                 .flags = RUNNER_I_READONLY,
                                 .path = base_path,
                                 .format = "raw",
                                 .size_bytes = size_bytes};
}

static void image_release(struct runner_image *image)
{
    host_table()->release((void *)image->path);
    host_table()->release((void *)image->format);
    host_table()->release((void *)image->backing_path);
    host_table()->release((void *)image->backing_format);
}

static int files_in_dir(void)
{
    auto_dir DIR *d = opendir(dir);
    int n = 0;

    while (d != NULL && readdir(d) != NULL)
        n++;
    return n - 2;
}

static int64_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? -1 : (int64_t)st.st_size;
}

static bool holds(const char *path, off_t at, const char *text)
{
    auto_close int fd = open(path, O_RDONLY);
    char found[8] = "";

    return fd >= 0 && pread(fd, found, strlen(text), at) == (ssize_t)strlen(text) && strcmp(found, text) == 0;
}

static int plan(struct runner_batch *batch, int64_t base_bytes, struct runner_image *ret)
{
    struct runner_image base = raw_base(base_bytes);
    struct runner_disk disk = disk_of(&base);

    error_clear(&err);
    return plugin->ops.disk.clone(self, host_call(-1, -1), batch, &disk, ret, &err);
}

static void remove_disk(const char *when)
{
    struct runner_batch *batch = host_table()->batch_new(host_call(-1, -1));
    struct runner_image base = raw_base(BASE_BYTES);
    struct runner_disk disk = disk_of(&base);
    int status;

    error_clear(&err);
    status = plugin->ops.disk.remove(self, host_call(-1, -1), batch, &disk, &err);
    if (status == 0)
        status = host_run_batch(batch, &err);
    tap_ok(status == 0 && files_in_dir() == 0, "%s leaves nothing %s", when, err.message);
    host_table()->batch_free(batch);
}

static void check_image(const struct runner_image *image)
{
    size_t dir_len = strlen(dir);
    bool is_raw = strcmp(image->format, "raw") == 0;

    tap_ok(strncmp(image->path, dir, dir_len) == 0 && image->path[dir_len] == '/', "the image is in the directory");
    tap_ok(image->size_bytes == DISK_BYTES, "d13: the image says its size");
    tap_ok(size_of(image->path) > 0, "the image is there");
    if (is_raw) {
        tap_ok(size_of(image->path) == DISK_BYTES, "d13: a raw image has the quota's size");
        tap_ok(holds(image->path, 0, "first") && holds(image->path, BASE_BYTES - 5, "last!"),
               "a raw image holds the base's data");
    } else {
        tap_ok(holds(image->path, 0, "QFI\xfb"), "a qcow2 image begins as one");
        tap_ok(image->backing_path != NULL && strcmp(image->backing_path, base_path) == 0 &&
                   image->backing_format != NULL && strcmp(image->backing_format, "raw") == 0,
               "a qcow2 image says its base");
    }
    tap_ok(size_of(base_path) == BASE_BYTES && holds(base_path, 0, "first"), "the base is as before");
}

/* A second clone in the same place fails and leaves the first as it was. */
static void check_exclusive(const char *path)
{
    struct runner_batch *batch = host_table()->batch_new(host_call(-1, -1));
    struct runner_image image = {.size = sizeof image};
    int64_t size = size_of(path);

    if (plan(batch, BASE_BYTES, &image) == 0) {
        int status = host_run_batch(batch, &err);
        tap_ok(status < 0 && err.code == RUNNER_E_EXISTS, "a second disk in the same place is refused: %s",
               err.message);
        tap_ok(size_of(path) == size && files_in_dir() == 1, "and the first is still there");
        image_release(&image);
    } else {
        tap_ok(false, "a second plan: %s", err.message);
    }
    host_table()->batch_free(batch);
}

static void check_undo(void)
{
    struct runner_batch *batch = host_table()->batch_new(host_call(-1, -1));
    struct runner_image image = {.size = sizeof image};
    int status = plan(batch, BASE_BYTES, &image);

    if (status == 0)
        status = host_run_batch(batch, &err);
    tap_ok(status == 0, "a disk is made again %s", err.message);
    host_undo_batch(batch);
    host_undo_batch(batch);
    tap_ok(files_in_dir() == 0, "undoing its steps, twice, leaves nothing");
    image_release(&image);
    host_table()->batch_free(batch);
}

static void check_too_large(void)
{
    struct runner_batch *batch = host_table()->batch_new(host_call(-1, -1));
    struct runner_image image = {.size = sizeof image};
    int status = plan(batch, (int64_t)DISK_BYTES + 512, &image);

    tap_ok(status < 0 && err.code == RUNNER_E_INVALID && err.message[0] != '\0',
           "a base beyond the quota is refused: %s", err.message);
    tap_ok(image.path == NULL, "and nothing is handed over");
    host_table()->batch_free(batch);
}

static void check_all(void)
{
    struct runner_batch *batch = host_table()->batch_new(host_call(-1, -1));
    struct runner_image image = {.size = sizeof image};
    int status = plan(batch, BASE_BYTES, &image);

    tap_ok(status == 0 && files_in_dir() == 0, "planning touches nothing %s", err.message);
    status = status == 0 ? host_run_batch(batch, &err) : -1;
    tap_ok(status == 0, "the steps are carried out %s", err.message);
    if (status == 0) {
        check_image(&image);
        check_exclusive(image.path);
        image_release(&image);
    }
    host_table()->batch_free(batch);
    remove_disk("removing the disk");
    remove_disk("removing it again");
    check_undo();
    check_too_large();
}

static void transport_start(void)
{
    const struct runner_plugin *transport = host_load("transport/local");

    host_transport(transport, host_create(transport, NULL));
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    auto_str struct str dump = STR_INIT;
    auto_loader struct loader *loader = NULL;
    const struct runner_value value = {.name = argc > 3 ? argv[3] : "", .text = "true", .number = 1};

    if (argc < 3 || argc > 4 || tmp == NULL) {
        fprintf(stderr, "usage: TMPDIR=empty-folder check-disk PLUGIN-DIR NAME [PARAMETER]\n");
        return 2;
    }
    (void)snprintf(base_path, sizeof base_path, "%s/base.raw", tmp);
    (void)snprintf(dir, sizeof dir, "%s/sb1", tmp);
    if (mkdir(dir, 0700) < 0) {
        perror(dir);
        return 1;
    }
    base_make();
    transport_start();
    loader = loader_new(argv[1], host_table());
    if (loader_open(loader, RUNNER_DISK, argv[2], &plugin, &err) < 0 ||
        plugin->desc.create(&value, argc > 3, &self, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    loader_dump(plugin, &dump);
    tap_ok(strstr(str_text(&dump), "op.clone=yes\n") != NULL, "the loader takes %s/disk/%s.so", argv[1], argv[2]);
    check_all();
    plugin->desc.destroy(self);
    tap_ok(host_live() == 0, "all memory that crossed was released");
    return tap_done();
}
