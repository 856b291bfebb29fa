/* What doctor says of the places where a host keeps its state. */
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "core/batch.h"
#include "core/doctor.h"
#include "core/host.h"
#include "core/look.h"
#include "core/procfs.h"
#include "core/sandbox-seed.h"
#include "core/snapshot.h"
#include "core/util/error.h"
#include "core/util/str.h"

#define MOUNTS_MAX  (256 * 1024)
#define SPACE_LEAST (INT64_C(64) << 20) /* less, and a sandbox without a byte of its own may not start */

/* A name that nobody has, in dir; the caller frees. */
static char *trial_path(const char *dir)
{
    uint64_t number = 0;

    (void)!getrandom(&number, sizeof number, 0);
    return mem_printf("%s/.doctor-%016" PRIx64, strcmp(dir, "/") == 0 ? "" : dir, number);
}

/* Without the names of what was tried, where the system says why. */
static const char *cause_of(const struct runner_error *err)
{
    return err->sys_errno != 0 ? strerrordesc_np(err->sys_errno) : err->message;
}

/* ---- directories ------------------------------------------------------------------------------------------------ */

static int try_write(const struct look *look, const char *dir, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(look->call);
    auto_free char *path = trial_path(dir);
    const struct runner_step remove = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .flags = RUNNER_S_EXCL | RUNNER_S_SYNC,
                                      .path = path,
                                      .data = "x",
                                      .len = 1,
                                      .number = 0600,
                                      .undo = &remove};

    if (batch_add(batch, &write, err) < 0 || batch_add(batch, &remove, err) < 0)
        return -1;
    return batch_run(look->call, batch, err);
}

/* dir: configured; nearest: it, or what there is of its path. */
static void say_directory(const struct look *look, const char *topic, const char *dir, const char *nearest)
{
    struct runner_error err = ERROR_INIT;
    auto_free char *user = look_user(look->call), *fix = mem_printf("install -d -o %s %s", user, dir);

    if (try_write(look, nearest, &err) < 0)
        finding_say(&look->to, RUNNER_FINDING_FAIL, topic, fix, "%s: '%s' cannot be written: %s", dir, nearest,
                    cause_of(&err));
    else if (strcmp(dir, nearest) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, topic, NULL, "%s: there, and writable", dir);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, topic, NULL, "%s: not there yet, the runner makes it", dir);
}

/* ---- the file system -------------------------------------------------------------------------------------------- */

static int try_reflink(const struct look *look, const char *dir, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(look->call);
    auto_free char *from = trial_path(dir), *to = mem_printf("%s-2", from);
    const struct runner_step drop_from = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = from};
    const struct runner_step drop_to = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = to};
    const struct runner_step clone = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_CLONE,
                                      .flags = RUNNER_S_REFLINK,
                                      .path = from,
                                      .to = to,
                                      .number = 0600,
                                      .undo = &drop_to};
    char data[16384]; /* more than a file system would keep in its inode */
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .flags = RUNNER_S_EXCL,
                                      .path = from,
                                      .data = data,
                                      .len = sizeof data,
                                      .number = 0600,
                                      .undo = &drop_from};

    memset(data, 'x', sizeof data);
    if (batch_add(batch, &write, err) < 0 || batch_add(batch, &clone, err) < 0 || batch_add(batch, &drop_to, err) < 0 ||
        batch_add(batch, &drop_from, err) < 0)
        return -1;
    return batch_run(look->call, batch, err);
}

static void say_reflink(const struct look *look, const char *root, const char *dir)
{
    auto_free char *mounts = look_read(look->call, "/proc/self/mountinfo", MOUNTS_MAX);
    auto_free char *fix = mem_printf("apt-get install -y xfsprogs && mkfs.xfs /dev/DISK && mount /dev/DISK %s", root);
    struct procfs_mount mount = {NULL, NULL, false};
    struct runner_error err = ERROR_INIT;
    const char *type;

    (void)procfs_mount_of(mounts != NULL ? mounts : "", dir, &mount);
    type = mount.type != NULL ? mount.type : "the file system";
    if (try_reflink(look, dir, &err) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "reflink", NULL, "copies share their blocks (%s)", type);
    else if (err.code == RUNNER_E_NOTSUP)
        finding_say(&look->to, RUNNER_FINDING_WARN, "reflink", fix,
                    "%s at %s shares no blocks: whole disks are copied where a copy is made", type,
                    mount.point != NULL ? mount.point : dir);
    else
        finding_say(&look->to, RUNNER_FINDING_SKIP, "reflink", NULL, "not tried: %s", cause_of(&err));
    procfs_mount_done(&mount);
}

static void say_space(const struct look *look, const char *dir)
{
    auto_batch struct runner_batch *batch = batch_new(look->call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STATFS, .path = dir};
    const struct config_host *config = look->host->config;
    auto_free char *fix = mem_printf("du -xh --max-depth=3 %s | sort -h | tail", config->root);
    struct runner_error err = ERROR_INIT;
    const struct runner_result *result;
    int64_t wanted = config->disk_gb << 30;

    if (batch_run_step(look->call, batch, &step, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "space", NULL, "%s", err.message);
        return;
    }
    result = batch_result(batch, 0);
    if (result->number >= wanted)
        finding_say(&look->to, RUNNER_FINDING_OK, "space", NULL, "%" PRId64 " GiB of %" PRId64 " free at %s",
                    result->number >> 30, result->number2 >> 30, dir);
    else
        finding_say(&look->to, result->number < SPACE_LEAST ? RUNNER_FINDING_FAIL : RUNNER_FINDING_WARN, "space", fix,
                    "%" PRId64 " MiB of %" PRId64 " free at %s: less than one full disk of a sandbox (%" PRId64 " GiB)",
                    result->number >> 20, result->number2 >> 20, dir, config->disk_gb);
}

/* ---- what sandboxes are made from ------------------------------------------------------------------------------- */

/* The configured one, whole. */
static void say_default_snapshot(const struct look *look, const char *fix)
{
    const struct config_host *config = look->host->config;
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;
    const char *missing = NULL;

    if (snapshot_open(look->call, config->root, config->snapshot, &snapshot, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "default-snapshot", fix, "%s", err.message);
        return;
    }
    if (!look_is_there(look->call, snapshot->disk_path))
        missing = snapshot->disk_path;
    else if (snapshot->kernel != NULL && !look_is_there(look->call, snapshot->kernel))
        missing = snapshot->kernel;
    if (missing != NULL)
        finding_say(&look->to, RUNNER_FINDING_FAIL, "default-snapshot", fix, "%s: '%s' is missing", config->snapshot,
                    missing);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "default-snapshot", NULL, "%s: there", config->snapshot);
}

static void say_snapshots(const struct look *look)
{
    const struct config_host *config = look->host->config;
    auto_free char *fix = mem_printf(
        "apt-get install -y cpio e2fsprogs lz4 xz-utils zstd && runner-image build tiny --root %s", config->root);
    auto_str struct str refs = STR_INIT;
    struct runner_error err = ERROR_INIT;
    size_t n = 0;

    if (snapshot_list(look->call, config->root, &refs, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "snapshots", NULL, "%s", err.message);
        return;
    }
    for (size_t i = 0; i < refs.len; i++)
        n += refs.ptr[i] == '\n';
    if (n == 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "snapshots", fix,
                    "none below %s/snapshots: nothing to make a sandbox from", config->root);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "snapshots", NULL, "%zu below %s/snapshots", n, config->root);
    if (config->snapshot != NULL)
        say_default_snapshot(look, fix);
}

/* Images bring no kernel. */
static void say_image_kernel(const struct look *look)
{
    const char *root = look->host->config->root;
    auto_free char *fix = mem_printf(
        "apt-get install -y cpio lz4 xz-utils zstd && runner-image boot --force --root %s", root);
    struct runner_error err = ERROR_INIT;

    if (look->host->instances[RUNNER_STORAGE] == NULL)
        finding_say(&look->to, RUNNER_FINDING_SKIP, "image-kernel", NULL, "no storage: images are not pulled here");
    else if (snapshot_check_boot(look->call, root, &err) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "image-kernel", NULL, "%s/boot", root);
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "image-kernel", fix, "images cannot be pulled: %s", err.message);
}

/* Seeds are made by the runner: this file is on its own machine, wherever the host is. */
static void say_daemon(const struct look *look)
{
    const char *path = sandbox_daemon_path(look->host->config);
    bool is_ours = look->host->config->daemon == NULL;

    if (access(path, R_OK) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "daemon", NULL, "%s", path);
    else if (is_ours)
        finding_say(&look->to, RUNNER_FINDING_WARN, "daemon", "make install",
                    "%s: %s: only snapshots that bring their own daemon can be used", path, strerrordesc_np(errno));
    else
        finding_say(&look->to, RUNNER_FINDING_FAIL, "daemon", NULL, "daemon: %s: %s", path, strerrordesc_np(errno));
}

void doctor_files(const struct look *look)
{
    const struct config_host *config = look->host->config;
    auto_free char *root = look_nearest(look->call, config->root);
    auto_free char *run_dir = look_nearest(look->call, config->run_dir);

    say_directory(look, "root", config->root, root);
    say_directory(look, "run-dir", config->run_dir, run_dir);
    say_reflink(look, config->root, root);
    say_space(look, root);
    say_snapshots(look);
    say_image_kernel(look);
    say_daemon(look);
}
