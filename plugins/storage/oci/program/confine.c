#include "plugins/storage/oci/program/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                                          \
    (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |           \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR)
/* All that the first version knows: what is not allowed by a rule is refused. */
#define ALL      (LANDLOCK_ACCESS_FS_MAKE_SYM | (LANDLOCK_ACCESS_FS_MAKE_SYM - 1))
#define OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)

int confine_privileges(struct runner_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    struct rlimit no_core = {0, 0};

    memset(none, 0, sizeof none);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        return fail_errno(err, errno, "giving up privileges");
    return 0;
}

/* A path that is absent needs no rule. */
static int allow(int rules, const char *path, uint64_t access, struct runner_error *err)
{
    auto_close int fd = path != NULL ? open(path, O_PATH | O_CLOEXEC) : -1;
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

    if (fd < 0)
        return 0;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
        return 0;
    rule.allowed_access = access & OF_FILES; /* it is no directory */
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
        return 0;
    return fail_errno(err, errno, "landlock: '%s'", path);
}

/* Name service, certificates, the libraries that these load. */
static int allow_system(int rules, struct runner_error *err)
{
    static const char *const paths[] = {"/etc",
                                        "/usr",
                                        "/lib",
                                        "/lib64",
                                        "/run/systemd/resolve",
                                        "/run/resolvconf",
                                        "/proc",
                                        "/sys/devices/system/cpu",
                                        "/dev/urandom",
                                        "/dev/null"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (allow(rules, paths[i], READ | LANDLOCK_ACCESS_FS_EXECUTE, err) < 0)
            return -1;
    return 0;
}

int confine_files(const struct request *r, const char *socket_path, struct runner_error *err)
{
    const struct landlock_ruleset_attr all = {.handled_access_fs = ALL};
    auto_close int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    auto_free char *run_dir = mem_dup_n(socket_path, (size_t)(strrchr(socket_path, '/') - socket_path));

    if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
        return 0; /* an older kernel, or it is turned off: runner-ch doctor says so */
    if (rules < 0)
        return fail_errno(err, errno, "landlock");
    if (allow_system(rules, err) < 0 || allow(rules, r->ca_file, READ, err) < 0 ||
        allow(rules, r->path, READ, err) < 0 || allow(rules, r->store, WRITE, err) < 0 ||
        allow(rules, r->dir, WRITE, err) < 0 || allow(rules, run_dir, LANDLOCK_ACCESS_FS_REMOVE_FILE, err) < 0)
        return -1;
    if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        return fail_errno(err, errno, "landlock");
    return 0;
}
