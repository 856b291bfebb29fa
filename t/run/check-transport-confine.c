/* Of check-transport: whom a process runs as, and in which cgroup. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kit/fake/host.h"

#define OTHER 54321u
#define GROUP 54322u

/* ---- user -------------------------------------------------------------------------------------------------------- */

static char *slurp(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = keep(mem_alloc(8192));
    ssize_t n = fd >= 0 ? read(fd, text, 8191) : 0;

    text[n > 0 ? n : 0] = '\0';
    cleanup_close(&fd);
    return text;
}

/* Whether /proc/PID/status has this line, blanks as there. */
static bool has_status(int64_t pid, const char *line)
{
    char *text = slurp(keep(mem_printf("/proc/%lld/status", (long long)pid)));

    if (strstr(text, keep(mem_printf("\n%s\n", line))) != NULL)
        return true;
    tap_note("no '%s' in: %s", line, text);
    return false;
}

static bool has_no_capability(int64_t pid)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};

    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (!has_status(pid, keep(mem_printf("%s:\t0000000000000000", sets[i]))))
            return false;
    return true;
}

static bool dumps_no_core(int64_t pid)
{
    const char *line = strstr(slurp(keep(mem_printf("/proc/%lld/limits", (long long)pid))), "\nMax core file size");
    char unit[8];
    int soft = -1, hard = -1;

    return line != NULL && sscanf(line, "\nMax core file size %d %d %7s", &soft, &hard, unit) == 3 && soft == 0 &&
           hard == 0;
}

/* A descriptor that knows no such request says ENOTTY; by one of a TAP the kernel would do it. */
static void check_no_new_mac(const struct runner_spawn *as)
{
    static const char code[] = "for (0x8924, 0x8927) { my $x = chr(0) x 40; ioctl(STDIN, $_, $x); print $!+0, ' '; }";
    const bool has_run = RUN(.kind = RUNNER_RUN, ARGV("perl", "-e", code), .spawn = as) == 0;

    tap_ok(has_run && strcmp(result.out, "1 25 ") == 0,
           "RUN: it may change no interface's MAC address, and may do all else: %s",
           has_run ? result.out : err.message);
}

static void check_other_user(void)
{
    const char *theirs = at("theirs"), *ours = at("w"), *paths[] = {at("none"), theirs, theirs, ours, NULL};
    struct runner_spawn how = {
        .size = sizeof how, .pid_path = at("i.pid"), .output_path = at("i.log"), .uid = OTHER, .gid = OTHER + 1};
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how};
    int64_t pid;

    (void)RUN(.kind = RUNNER_WRITE, .path = theirs, .number = 0600);
    if (chown(theirs, 0, GROUP) < 0)
        tap_note("cannot give the file away");
    how.groups_of = paths;
    tap_ok(run(step) == 0 && result.number2 == RUNNER_SPAWNED_UID, "SPAWN as another user");
    pid = result.number;
    tap_ok(has_status(pid, "Uid:\t54321\t54321\t54321\t54321") && has_status(pid, "Gid:\t54322\t54322\t54322\t54322"),
           "SPAWN: its user and group");
    tap_ok(has_status(pid, "Groups:\t54322 "), "SPAWN: the group of a file, not root's, none of an absent one");
    tap_ok(has_no_capability(pid), "SPAWN: no capability in any set");
    tap_ok(has_status(pid, "NoNewPrivs:\t1"), "SPAWN: and never gets any");
    tap_ok(dumps_no_core(pid), "SPAWN: no core files");
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = how.pid_path) == 0 && result.status == 0 && result.number == pid &&
               RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL) == 0,
           "ALIVE and KILL of another user's process");
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("cat", "/proc/self/status"), .spawn = &how) == 0 &&
               result.number2 == RUNNER_SPAWNED_UID && strstr(result.out, "\nUid:\t54321\t54321\t54321\t54321\n") &&
               strstr(result.out, "\nGroups:\t54322 \n") && strstr(result.out, "\nCapEff:\t0000000000000000\n") &&
               strstr(result.out, "\nNoNewPrivs:\t1\n"),
           "RUN as another user");
    check_no_new_mac(&how);
    how.groups_of = NULL;
    tap_ok(run(step) == 0 && has_status(result.number, "Groups:\t "), "SPAWN: no groups at all");
    (void)RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL);
    step.argv = (const char *const[]){theirs, NULL};
    tap_ok(run(step) < 0 && says(RUNNER_E_IO, "execute") && geteuid() == 0 && is_there(theirs),
           "SPAWN: a program that the other user may not run: %s", err.message);
}

static void check_same_user(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("s.pid")};
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how};

    tap_ok(run(step) == 0 && result.number2 == 0 && has_status(result.number, "NoNewPrivs:\t0") &&
               dumps_no_core(result.number),
           "SPAWN as ourselves: nothing taken but core files");
    (void)RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL);
    if (geteuid() == 0) {
        check_other_user();
        return;
    }
    how.uid = how.gid = OTHER;
    tap_ok(run(step) == 0 && result.number2 == 0, "SPAWN as another user, who is not root: ignored, and it says so");
    (void)RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL);
    tap_ok(RUN(.kind = RUNNER_RUN, ARGV("id", "-u"), .spawn = &how) == 0 && result.number2 == 0,
           "RUN as another user, who is not root: the same");
    tap_ok(true, "SPAWN as another user # SKIP needs root");
}

/* ---- cgroups ----------------------------------------------------------------------------------------------------- */

static char parent[128]; /* the folder of this run, in the file system */

/* NULL when there are cgroups to be had, else why not. Sees for itself, so that a plugin that finds none is wrong. */
static const char *find_parent(void)
{
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    struct mntent *entry = NULL;

    while (mounts != NULL && (entry = getmntent(mounts)) != NULL && strcmp(entry->mnt_type, "cgroup2") != 0)
        ;
    if (entry != NULL)
        (void)snprintf(parent, sizeof parent, "%s/check-transport-%d", entry->mnt_dir, (int)getpid());
    if (mounts != NULL)
        endmntent(mounts);
    if (entry == NULL)
        return "no cgroup2 file system is mounted";
    if (mkdir(parent, 0755) < 0 || rmdir(parent) < 0)
        return "the cgroup2 file system cannot be written";
    return NULL;
}

/* Where the plugin puts the cgroup: parent, one folder for the host's root, the name. "" when there is none. */
static char *cgroup_dir(const char *name)
{
    auto_dir DIR *d = opendir(parent);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        char *path = keep(mem_printf("%s/%s/%s", parent, entry->d_name, name));

        if (entry->d_name[0] != '.' && is_there(path))
            return path;
    }
    return keep(mem_dup(""));
}

static bool is_in(int64_t pid, const char *cgroup)
{
    char *dir_path = cgroup_dir(cgroup),
         *line = strrchr(slurp(keep(mem_printf("/proc/%lld/cgroup", (long long)pid))), ':');

    return dir_path[0] != '\0' && line != NULL && strstr(dir_path, keep(mem_dup_n(line + 1, strcspn(line + 1, "\n"))));
}

static int spawn_in(const char *cgroup, const char *pid_path, const char *script)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = pid_path, .cgroup = cgroup};

    return RUN(.kind = RUNNER_SPAWN, ARGV("/bin/sh", "-c", script), .spawn = &how);
}

static int cgroup_del(const char *name)
{
    return RUN(.kind = RUNNER_CGROUP_DEL, .path = name);
}

static void check_cgroup_life(void)
{
    const char *pid_path = at("c.pid");
    int64_t pid;
    int watching;

    tap_ok(spawn_in("vm-1", pid_path, "exec sleep 60") == 0 &&
               result.number2 == (RUNNER_SPAWNED_CGROUP | RUNNER_SPAWNED_LIMITS) && is_in(result.number, "vm-1"),
           "SPAWN in a cgroup");
    pid = result.number;
    watching = watch(pid_path);
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.number == pid, "ALIVE in a cgroup");
    tap_ok(cgroup_del("vm-1") == 0 && has_ended(watching) && cgroup_dir("vm-1")[0] == '\0',
           "CGROUP_DEL: the process ends, the cgroup goes");
    cleanup_close(&watching);
    tap_ok(cgroup_del("vm-1") == 0 && cgroup_del("vm-never") == 0, "CGROUP_DEL: absent is fine");
    tap_ok(cgroup_del("../vm") < 0 && says(RUNNER_E_INVALID, "'../vm'") && spawn_in("a/b", pid_path, "true") < 0 &&
               says(RUNNER_E_INVALID, "'a/b'"),
           "cgroups: bad names");
}

static void check_cgroup_leftovers(void)
{
    int watching;

    (void)spawn_in("vm-2", at("c.pid"), "exec sleep 60");
    watching = watch(at("c.pid"));
    tap_ok(watching >= 0 && spawn_in("vm-2", at("d.pid"), "exec sleep 60") == 0 &&
               (result.number2 & RUNNER_SPAWNED_CGROUP) != 0 && is_in(result.number, "vm-2") && has_ended(watching),
           "SPAWN in a cgroup that is there: what was left in it is gone first");
    cleanup_close(&watching);
    (void)cgroup_del("vm-2");
}

static void check_cgroup_failures(void)
{
    struct runner_spawn how = {.size = sizeof how, .pid_path = at("c.pid"), .cgroup = "vm-3"};
    struct runner_step del = {.size = sizeof del, .kind = RUNNER_CGROUP_DEL, .path = "vm-3"};
    struct runner_step killing = {.size = sizeof killing, .kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL};
    struct runner_step first = {.size = sizeof first, .kind = RUNNER_STAT, .path = dir, .undo = &del};
    struct runner_step second = {
        .size = sizeof second, .kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how, .undo = &killing};
    struct runner_step third = {.size = sizeof third, .kind = RUNNER_READ, .path = at("absent"), .number = 9};
    const struct runner_step *steps[] = {&first, &second, &third};
    struct runner_result results[3] = {0};

    tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("/no/such/program"), .spawn = &how) < 0 && cgroup_dir("vm-3")[0] == '\0',
           "SPAWN in a cgroup: exec fails, no cgroup is left");
    error_clear(&err);
    tap_ok(ops->run(self, host_call(-1, -1), steps, 3, results, &err) < 0 && says(RUNNER_E_NOTFOUND, at("absent")) &&
               strstr(err.message, "not undone") == NULL && results[1].number2 != 0 && cgroup_dir("vm-3")[0] == '\0',
           "a batch with a cgroup is undone: %s", err.message);
    tap_ok(rmdir(keep(mem_dup_n(cgroup_dir("."), strlen(cgroup_dir(".")) - 2))) == 0 && rmdir(parent) == 0 &&
               spawn_in("vm-3", at("c.pid"), "exec sleep 60") == 0 && is_in(result.number, "vm-3"),
           "SPAWN in a cgroup: though somebody has tidied up");
    (void)cgroup_del("vm-3");
}

static void check_cgroup_limits(void)
{
    const char *available = slurp(keep(mem_printf("%s/../cgroup.controllers", parent)));
    bool is_possible = strstr(available, "memory") != NULL && strstr(available, "pids") != NULL;
    struct runner_spawn how = {.size = sizeof how,
                               .pid_path = at("c.pid"),
                               .cgroup = "vm-4",
                               .cgroup_memory_bytes = 64 << 20,
                               .cgroup_tasks = 20};
    int r = RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how);

    if (is_possible)
        tap_ok(r == 0 && (result.number2 & RUNNER_SPAWNED_LIMITS) != 0 &&
                   strcmp(slurp(keep(mem_printf("%s/memory.max", cgroup_dir("vm-4")))), "67108864\n") == 0 &&
                   strcmp(slurp(keep(mem_printf("%s/pids.max", cgroup_dir("vm-4")))), "20\n") == 0,
               "SPAWN in a cgroup with limits");
    else
        tap_ok(r == 0 && result.number2 == RUNNER_SPAWNED_CGROUP && is_in(result.number, "vm-4"),
               "SPAWN in a cgroup with limits: without controllers it says that there are none");
    r = RUN(.kind = RUNNER_CGROUP_SET, .path = "vm-4", .number = 96 << 20);
    if (is_possible)
        tap_ok(r == 0 && result.status == 0 &&
                   strcmp(slurp(keep(mem_printf("%s/memory.max", cgroup_dir("vm-4")))), "100663296\n") == 0,
               "CGROUP_SET: the limit of memory is another");
    else
        tap_ok(r == 0 && result.status == 1, "CGROUP_SET: without controllers it says so");
    (void)cgroup_del("vm-4");
    tap_ok(RUN(.kind = RUNNER_CGROUP_SET, .path = "vm-4", .number = 96 << 20) == 0 && result.status == 1 &&
               RUN(.kind = RUNNER_CGROUP_SET, .path = "../vm-4", .number = 1) < 0 &&
               RUN(.kind = RUNNER_CGROUP_SET, .path = "vm-4", .number = 0) < 0,
           "CGROUP_SET: an absent cgroup is said to be, a wrong name or limit refused");
    error_clear(&err);
    if (!is_possible)
        tap_ok(true, "limits of cgroups # SKIP the cgroup2 file system has no controllers memory and pids here");
}

/* Another runner on this machine has a sandbox of the same name. */
static void check_cgroup_apart(void)
{
    void *first = self, *second;
    int64_t pid;

    (void)spawn_in("vm-5", at("c.pid"), "exec sleep 60");
    pid = result.number;
    fake_host_root("/another/root");
    second = host_create(plugin, "cgroup", strrchr(parent, '/') + 1, NULL);
    self = second;
    tap_ok(spawn_in("vm-5", at("d.pid"), "exec sleep 60") == 0 && (result.number2 & RUNNER_SPAWNED_CGROUP) != 0 &&
               cgroup_del("vm-5") == 0,
           "a cgroup of the same name with another root");
    self = first;
    fake_host_root(dir);
    tap_ok(RUN(.kind = RUNNER_ALIVE, .path = at("c.pid")) == 0 && result.number == pid && is_in(pid, "vm-5"),
           "it was not this one that went");
    plugin->destroy(second);
    tap_ok(is_in(pid, "vm-5") && cgroup_del("vm-5") == 0, "nor did the other's end take it away");
}

static void check_cgroups(void)
{
    void *first = self;
    const char *reason = find_parent();

    tap_ok(plugin->create(&(struct runner_value){.name = "cgroup", .text = "a/../../b"}, 1, &(void *){NULL}, &err) <
                   0 &&
               says(RUNNER_E_INVALID, "'a/../../b'"),
           "a cgroup outside the hierarchy");
    self = host_create(plugin, "cgroup", "", NULL);
    tap_ok(spawn_in("vm-0", at("c.pid"), "exec sleep 60") == 0 && (result.number2 & RUNNER_SPAWNED_CGROUP) == 0 &&
               cgroup_del("vm-0") == 0 && RUN(.kind = RUNNER_KILL, .path = at("c.pid"), .number = SIGKILL) == 0 &&
               result.status == 0,
           "cgroups turned off: the process runs without");
    plugin->destroy(self);
    self = host_create(plugin, "cgroup", strrchr(parent, '/') != NULL ? strrchr(parent, '/') + 1 : "none-here", NULL);
    if (reason == NULL) {
        check_cgroup_life();
        check_cgroup_leftovers();
        check_cgroup_failures();
        check_cgroup_limits();
        check_cgroup_apart();
    } else {
        tap_ok(spawn_in("vm-1", at("c.pid"), "exec sleep 60") == 0 && (result.number2 & RUNNER_SPAWNED_CGROUP) == 0 &&
                   RUN(.kind = RUNNER_KILL, .path = at("c.pid"), .number = SIGKILL) == 0 && cgroup_del("vm-1") == 0,
               "SPAWN in a cgroup that cannot be: it runs without");
        tap_ok(true, "cgroups # SKIP %s", reason);
    }
    plugin->destroy(self);
    self = first;
    tap_ok(reason != NULL || !is_there(parent), "no cgroup is left");
}

void check_confined(void)
{
    check_same_user();
    check_cgroups();
}
