#include "plugins/storage/oci/program/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "plugins/storage/oci/convert.h"
#include "plugins/storage/oci/program/confine-inner.h"
#include "plugins/storage/oci/program/pack.h"

#define TASKS_MAX 4096 /* of its user, so of all operations at once */
#define BESIDE_MEMORY                                                                                                  \
    (INT64_C(2) << 30) /* address space that is never touched: stacks and arenas of threads, libraries */
#define FILES_MORE 64  /* open ones that are no blobs */

struct gaps {
    confine_gap_fn *say;
    void *ctx;
};

static void say_gap(const struct gaps *gaps, const char *what, struct runner_error *cause)
{
    auto_free char *text = mem_printf("%s: %s", what, cause->message);

    gaps->say(gaps->ctx, text);
    error_clear(cause);
}

/* ---- who it is ---- */

static int set_user(uint32_t uid, struct runner_error *err)
{
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ; /* until there is no such capability, or it is not permitted */
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        return fail_errno(err, errno, "becoming user %u", uid);
    return 0;
}

int confine_capabilities(struct runner_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

    memset(none, 0, sizeof none);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail_errno(err, errno, "giving up privileges");
    return 0;
}

/* Root's part: what it sees, and as whom. A host without namespaces may still have users, if they reach its directories. */
static int confine_user(const struct confine *what, const struct gaps *gaps, struct runner_error *err)
{
    int seen = confine_view(what, err);
    uint32_t uid = what->uid;

    if (seen > 0)
        say_gap(gaps, "it sees all files", err);
    if (seen > 0 && uid != 0) {
        int reached = confine_reach(what, err);

        if (reached < 0)
            return -1;
        uid = reached > 0 ? 0 : uid;
    } else if (seen >= 0 && uid == 0) {
        (void)fail(err, RUNNER_E_NOTSUP, 0, "the setting uid is 0");
    }
    if (seen < 0)
        return -1;
    if (uid == 0)
        say_gap(gaps, "it runs as the runner's user", err);
    if (confine_give(what, uid, err) < 0)
        return -1;
    return uid != 0 ? set_user(uid, err) : 0;
}

/* ---- limits ---- */

static int limit(int resource, rlim_t most, struct runner_error *err)
{
    struct rlimit now;

    if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
        return fail_errno(err, errno, "limits");
    if (now.rlim_max > most)
        now.rlim_max = most;
    now.rlim_cur = now.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &now) < 0 ? fail_errno(err, errno, "limits") : 0;
}

int confine_file_bytes(int64_t bytes, struct runner_error *err)
{
    return limit(RLIMIT_FSIZE, (rlim_t)bytes, err);
}

static int confine_limits(const struct confine *what, struct runner_error *err)
{
    (void)signal(SIGXFSZ, SIG_IGN); /* it is told EFBIG */
    if (limit(RLIMIT_CORE, 0, err) < 0 || limit(RLIMIT_NPROC, TASKS_MAX, err) < 0 ||
        limit(RLIMIT_MEMLOCK, 0, err) < 0 || limit(RLIMIT_MSGQUEUE, 0, err) < 0)
        return -1;
    if (what->n_files > 0 && limit(RLIMIT_NOFILE, (rlim_t)what->n_files, err) < 0)
        return -1;
    if (what->file_bytes >= 0 && confine_file_bytes(what->file_bytes, err) < 0)
        return -1;
    if (what->memory_bytes > 0 && !CONFINE_IS_SANITIZED)
        return limit(RLIMIT_AS, (rlim_t)(what->memory_bytes + BESIDE_MEMORY), err);
    return 0;
}

/* ---- all ---- */

int confine(const struct confine *what, confine_gap_fn *gap, void *ctx, struct runner_error *err)
{
    const struct gaps gaps = {gap, ctx};
    int status;

    if (geteuid() != 0) {
        (void)fail(err, RUNNER_E_NOTSUP, 0, "only root can change that");
        say_gap(&gaps, "it sees all files, and runs as the runner's user", err);
    } else if (confine_user(what, &gaps, err) < 0) {
        return error_wrap(err, "confinement");
    }
    if (confine_capabilities(err) < 0 || confine_limits(what, err) < 0)
        return error_wrap(err, "confinement");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) /* a change of user forgets it */
        return fail_errno(err, errno, "confinement");
    status = confine_files(what, err);
    if (status > 0)
        say_gap(&gaps, "no landlock", err);
    if (status >= 0) {
        status = confine_calls(err);
        if (status > 0)
            say_gap(&gaps, "no filter of system calls", err);
    }
    return status < 0 ? error_wrap(err, "confinement") : 0;
}

/* ---- for an operation ---- */

static int make_directories(const char *path, struct runner_error *err)
{
    auto_free char *dir = mem_dup(path);

    for (char *p = dir + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
            return fail_errno(err, errno, "directory '%s'", dir);
        *p = '/';
    }
    return mkdir(path, 0700) < 0 && errno != EEXIST ? fail_errno(err, errno, "directory '%s'", path) : 0;
}

/* What the largest file of an operation may have. */
static int64_t file_bytes(const struct request *r)
{
    int64_t disk = PACK_DISK_MAX > CONVERT_FILE_MAX ? PACK_DISK_MAX : CONVERT_FILE_MAX;

    if (r->operation == OPERATION_INSPECT || r->operation == OPERATION_REMOVE)
        return 0;
    if (r->operation == OPERATION_PULL && disk > r->limits.bytes)
        return disk;
    return r->operation == OPERATION_PUSH ? PACK_DISK_MAX : r->limits.bytes;
}

int confine_for(struct request *r, confine_gap_fn *gap, void *ctx, struct runner_error *err)
{
    auto_free char *blobs = mem_printf("%s/blobs", r->store);
    bool has_blobs = request_has_blobs(r);
    const struct confine what = {.uid = (uint32_t)r->uid,
                                 .writable = {has_blobs ? blobs : NULL, r->operation == OPERATION_PULL ? r->dir : NULL},
                                 .readable = {r->ca_file, r->operation == OPERATION_INSPECT ? blobs : NULL},
                                 .memory_bytes = r->memory_bytes,
                                 .file_bytes = file_bytes(r),
                                 .n_files = r->limits.blobs + FILES_MORE};

    if (has_blobs && make_directories(blobs, err) < 0)
        return -1;
    if (r->operation == OPERATION_PUSH && (r->disk_fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return fail_errno(err, errno, "disk '%s'", r->path);
    return confine(&what, gap, ctx, err);
}
