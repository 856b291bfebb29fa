/* What doctor says of processes as VMMs are: one is started on the host, as they would be, and looked at. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "core/batch.h"
#include "core/doctor.h"
#include "core/host.h"
#include "core/look.h"
#include "core/procfs.h"
#include "core/util/error.h"
#include "core/util/str.h"

#define TRIAL_MS   5000
#define TEXT_MAX   (256 * 1024)
#define MEMORY_TRY (INT64_C(64) << 20)
#define TASKS_TRY  16
#define SERVICE    "systemctl enable --now runner-ch" /* as root, with a cgroup of its own */

struct trial {
    char name[32]; /* of its cgroup */
    const char *pid_path;
    uint32_t spawned; /* RUNNER_SPAWNED_* */
    int status;       /* exit status of test -w /dev/kvm, -1: not known */
};

/* ---- the process ------------------------------------------------------------------------------------------------ */

static int trial_start(const struct look *look, struct trial *t, struct runner_error *err)
{
    static const char *const argv[] = {"test", "-r", "/dev/kvm", "-a", "-w", "/dev/kvm", NULL};
    static const char *const groups_of[] = {"/dev/kvm", NULL};
    auto_batch struct runner_batch *batch = batch_new(look->call);
    uint32_t uid = look->host->config->n_uids > 0 ? look->host->config->first_uid : 0;
    const struct runner_spawn how = {.size = sizeof how,
                                     .pid_path = t->pid_path,
                                     .uid = uid,
                                     .gid = uid,
                                     .groups_of = groups_of,
                                     .cgroup = t->name,
                                     .cgroup_memory_bytes = MEMORY_TRY,
                                     .cgroup_tasks = TASKS_TRY};
    const struct runner_step kill = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = t->pid_path, .number = SIGKILL};
    const struct runner_step start = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_SPAWN, .argv = argv, .spawn = &how, .undo = &kill};

    if (batch_run_step(look->call, batch, &start, err) < 0)
        return -1;
    t->spawned = (uint32_t)batch_result(batch, 0)->number2;
    return 0;
}

/* Waits for its end, and cleans up behind it. */
static int trial_end(const struct look *look, struct trial *t, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(look->call);
    const struct runner_step alive = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = t->pid_path};
    const struct runner_step kill = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = t->pid_path, .number = SIGKILL};
    const struct runner_step remove = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = t->pid_path};
    const struct runner_step cgroup = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = t->name};
    const struct runner_result *result;
    auto_close int ended = -1;

    if (host_watch(look->host, look->call, t->pid_path, &ended, NULL) == 0) /* else it has ended */
        (void)call_wait(look->call, ended, POLLIN, TRIAL_MS);
    if (batch_add(batch, &alive, err) < 0 || batch_add(batch, &kill, err) < 0 || batch_add(batch, &remove, err) < 0 ||
        ((t->spawned & RUNNER_SPAWNED_CGROUP) && batch_add(batch, &cgroup, err) < 0) ||
        batch_run(look->call, batch, err) < 0)
        return -1;
    result = batch_result(batch, 0);
    if (result->status == 1 && result->number2 >= 0 && WIFEXITED((int)result->number2))
        t->status = WEXITSTATUS((int)result->number2);
    return 0;
}

/* The pid file lies in dir meanwhile. */
static int trial_run_in(const struct look *look, const char *dir, struct trial *t, struct runner_error *err)
{
    auto_free char *pid_path = mem_printf("%s/.%s.pid", strcmp(dir, "/") == 0 ? "" : dir, t->name);

    t->pid_path = pid_path;
    return trial_start(look, t, err) < 0 || trial_end(look, t, err) < 0 ? -1 : 0;
}

static int trial_run(const struct look *look, struct trial *ret, struct runner_error *err)
{
    auto_free char *dir = look_nearest(look->call, look->host->config->run_dir);
    uint32_t number = 0;

    *ret = (struct trial){.status = -1};
    (void)!getrandom(&number, sizeof number, 0);
    (void)snprintf(ret->name, sizeof ret->name, "doctor-%08" PRIx32, number);
    /* A run_dir that cannot be written is said already. */
    return trial_run_in(look, dir, ret, err) < 0 && trial_run_in(look, "/tmp", ret, err) < 0 ? -1 : 0;
}

/* ---- what it shows ---------------------------------------------------------------------------------------------- */

/* The first directory on the way to path that the user of a VMM cannot pass, the caller's to free; NULL: none. */
static char *first_barrier(const struct look *look, const char *path)
{
    for (size_t len = 1; len <= strlen(path); len++) {
        auto_free char *dir = mem_dup_n(path, len);
        const char *const argv[] = {"test", "-x", dir, NULL};

        if (path[len] != '/' && path[len] != '\0')
            continue;
        if (look_run_as(look->call, look->host->config->first_uid, argv) != 0)
            return mem_dup(dir);
    }
    return NULL;
}

static void say_reach(const struct look *look)
{
    auto_free char *root = look_nearest(look->call, look->host->config->root);
    auto_free char *barrier = first_barrier(look, root), *fix = NULL;

    if (barrier == NULL) {
        finding_say(&look->to, RUNNER_FINDING_OK, "vmm-user", NULL,
                    "VMMs run as users of their own, from %" PRIu32 " on", look->host->config->first_uid);
        return;
    }
    fix = mem_printf("chmod o+x %s", barrier);
    finding_say(&look->to, RUNNER_FINDING_WARN, "vmm-user", fix,
                "VMMs run as the runner's user: others cannot pass %s, on the way to their sandboxes", barrier);
}

static void say_user(const struct look *look, const struct trial *t)
{
    auto_free char *user = look_user(look->call);

    if (look->host->config->n_uids == 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "vmm-user", NULL,
                    "VMMs run as %s, as the runner does: the configuration says uids: none", user);
    else if (!(t->spawned & RUNNER_SPAWNED_UID))
        finding_say(&look->to, RUNNER_FINDING_WARN, "vmm-user", SERVICE,
                    "VMMs run as %s, as the runner does: only root can give them users of their own", user);
    else
        say_reach(look);
}

static void say_kvm_user(const struct look *look, const struct trial *t)
{
    static const char fix[] = "groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 /dev/kvm";

    if (!look_is_there(look->call, "/dev/kvm"))
        finding_say(&look->to, RUNNER_FINDING_SKIP, "kvm-user", NULL, "there is no /dev/kvm");
    else if (!(t->spawned & RUNNER_SPAWNED_UID))
        finding_say(&look->to, RUNNER_FINDING_SKIP, "kvm-user", NULL, "VMMs have no users of their own");
    else if (t->status == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "kvm-user", NULL, "a VMM's own user can open /dev/kvm");
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "kvm-user", fix,
                    "a VMM's own user cannot open /dev/kvm, which its group may not");
}

/* Which of the controllers for limits the hierarchy lacks. */
static void missing_controllers(const struct look *look, const char *mount_point, struct str *ret)
{
    static const char *const wanted[] = {"memory", "pids", "cpu"};
    auto_free char *path = mem_printf("%s/cgroup.controllers", mount_point);
    auto_free char *text = look_read(look->call, path, 4096);

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (text == NULL || !procfs_has_word(text, wanted[i]))
            str_addf(ret, "%s%s", ret->len > 0 ? ", " : "", wanted[i]);
}

static void say_no_limits(const struct look *look, const char *mount_point)
{
    auto_str struct str missing = STR_INIT;

    missing_controllers(look, mount_point, &missing);
    if (missing.len > 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "cgroup",
                    "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub && "
                    "update-grub && reboot",
                    "VMMs have cgroups of their own, without limits: %s is without %s (version 1 has them?)",
                    mount_point, missing.ptr);
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "cgroup", SERVICE,
                    "VMMs have cgroups of their own, but their limits cannot be set below %s", mount_point);
}

/* None was made. */
static void say_no_cgroup(const struct look *look, const struct procfs_mount *mount)
{
    auto_free char *fix = mem_printf("mount -o remount,rw %s", mount->point);

    finding_say(&look->to, RUNNER_FINDING_WARN, "cgroup", mount->is_readonly ? fix : SERVICE,
                "no cgroup can be made in %s%s: VMMs have no limits, and count as the runner's", mount->point,
                mount->is_readonly ? ", which is read-only" : "");
}

static void say_cgroup(const struct look *look, const struct trial *t)
{
    auto_free char *mounts = look_read(look->call, "/proc/self/mountinfo", TEXT_MAX);
    struct procfs_mount mount = {NULL, NULL, false};

    if (mounts == NULL || !procfs_mount_by_type(mounts, "cgroup2", &mount))
        finding_say(&look->to, RUNNER_FINDING_WARN, "cgroup", "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
                    "cgroup version 2 is not mounted: VMMs have no limits");
    else if (!(t->spawned & RUNNER_SPAWNED_CGROUP))
        say_no_cgroup(look, &mount);
    else if (!(t->spawned & RUNNER_SPAWNED_LIMITS))
        say_no_limits(look, mount.point);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "cgroup", NULL,
                    "VMMs have cgroups of their own, with limits of memory and tasks");
    procfs_mount_done(&mount);
}

void doctor_process(const struct look *look)
{
    struct runner_error err = ERROR_INIT;
    struct trial trial;

    if (trial_run(look, &trial, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "process", NULL, "none could be started as VMMs are: %s",
                    err.message);
        return;
    }
    say_user(look, &trial);
    say_kvm_user(look, &trial);
    say_cgroup(look, &trial);
}
