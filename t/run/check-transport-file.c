/* Of check-transport: steps on files. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static void check_parts(const char *f) /* which holds abcdef */
{
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 2, .flags = RUNNER_S_TAIL) == 0 && result.len == 2 &&
               memcmp(result.out, "ef", 3) == 0 && result.number == 6,
           "READ with TAIL: the last bytes of a larger file, and its size");
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 6, .flags = RUNNER_S_TAIL) == 0 && result.len == 6 &&
               memcmp(result.out, "abcdef", 7) == 0 && result.number == 6,
           "READ with TAIL: all of one as large as the limit");
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 0, .flags = RUNNER_S_TAIL) == 0 && result.len == 0 &&
               result.number == 6,
           "READ with TAIL: nothing of it");
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 2, .flags = RUNNER_S_HEAD) == 0 && result.len == 2 &&
               memcmp(result.out, "ab", 3) == 0 && result.number == 6,
           "READ with HEAD: the first bytes of a larger file, and its size");
    tap_ok(RUN(.kind = RUNNER_READ, .path = at("none"), .number = 5, .flags = RUNNER_S_OPTIONAL | RUNNER_S_TAIL) == 0 &&
               result.status == 1 && RUN(.kind = RUNNER_READ, .path = dir, .number = 5, .flags = RUNNER_S_TAIL) < 0 &&
               says(RUNNER_E_INVALID, "not a regular file"),
           "READ with TAIL: absent, and a directory");
    tap_ok(RUN(.kind = RUNNER_READ, .path = "/proc/sys/kernel/random/boot_id", .number = 8, .flags = RUNNER_S_TAIL) ==
                   0 &&
               result.len == 8,
           "READ with TAIL: never more than the limit, whatever size the file claims to have");
}

static void check_write_and_read(void)
{
    const char *f = at("w");

    umask(077);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "abc", .len = 3, .number = 0644) == 0 && mode_of(f) == 0644,
           "WRITE: the mode is exact whatever the umask");
    umask(022);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "abcdef", .len = 6, .number = 0600, .flags = RUNNER_S_SYNC) ==
                   0 &&
               RUN(.kind = RUNNER_READ, .path = f, .number = 6) == 0 && result.len == 6 &&
               memcmp(result.out, "abcdef", 7) == 0,
           "WRITE replaces, READ reads, ended by NUL");
    check_parts(f);
    tap_ok(RUN(.kind = RUNNER_READ, .path = f, .number = 5) < 0 && says(RUNNER_E_INVALID, "larger than 5 bytes"),
           "READ: over the limit");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "x", .len = 1, .flags = RUNNER_S_EXCL) < 0 &&
               says(RUNNER_E_EXISTS, f),
           "WRITE with EXCL: exists");
    tap_ok(RUN(.kind = RUNNER_READ, .path = at("none"), .number = 5) < 0 && says(RUNNER_E_NOTFOUND, at("none")),
           "READ: absent");
    tap_ok(RUN(.kind = RUNNER_READ, .path = at("none"), .number = 5, .flags = RUNNER_S_OPTIONAL) == 0 &&
               result.status == 1,
           "READ with OPTIONAL: absent");
    tap_ok(RUN(.kind = RUNNER_READ, .path = dir, .number = 5) < 0 && says(RUNNER_E_INVALID, "not a regular file"),
           "READ: a directory");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = at("no/such/f"), .number = 0600) < 0 &&
               says(RUNNER_E_NOTFOUND, at("no/such")),
           "WRITE: no directory");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = "relative") < 0 && says(RUNNER_E_INVALID, "not absolute"),
           "a relative path is refused");
    tap_ok(RUN(.kind = 999) < 0 && says(RUNNER_E_NOTSUP, "999"), "an unknown kind is refused");
}

/* What steps leave open for those behind them. */
static void check_fresh(void)
{
    static const char script[] = "#!/bin/sh\nexit 0\n";
    const char *f = at("fresh"), *program = at("program");
    const uint32_t flags = RUNNER_S_EXCL | RUNNER_S_FRESH;
    const struct runner_step made[] = {
        STEP(.kind = RUNNER_WRITE, .flags = flags, .path = f, .data = "abc", .len = 3, .number = 0440),
        STEP(.kind = RUNNER_PATCH, .path = f, .data = "X", .len = 1, .number = 1),
        STEP(.kind = RUNNER_GROW, .path = f, .number = 5),
        STEP(.kind = RUNNER_OWN, .path = f, .number = 0604, .uid = getuid(), .gid = getgid()),
        STEP(.kind = RUNNER_READ, .path = f, .number = 9)};
    const struct runner_step executed[] = {STEP(.kind = RUNNER_WRITE, .flags = flags, .path = program, .data = script,
                                                .len = sizeof script - 1, .number = 0700),
                                           STEP(.kind = RUNNER_RUN, ARGV(program))};

    umask(077);
    tap_ok(run_all(made, ARRAY_LEN(made)) == 0 && mode_of(f) == 0604 && result.len == 5 &&
               memcmp(result.out, "aXc\0\0", 5) == 0,
           "WRITE with FRESH, and PATCH, GROW, OWN, READ behind it");
    umask(022);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "x", .len = 1, .flags = flags) < 0 &&
               says(RUNNER_E_EXISTS, f) && mode_of(f) == 0604,
           "WRITE with FRESH: exists");
    tap_ok(run_all(executed, ARRAY_LEN(executed)) == 0, "WRITE with FRESH: a program, which is run");
}

/* What is known of a new directory: what the steps before made there, or may have, is there. */
static void check_new(void)
{
    const char *a = at("new/a"), *b = at("new/b"), *inner = at("new/sub/f"), *old = at("old"), *old_a = at("old/a");
    const struct runner_step make =
        STEP(.kind = RUNNER_MKDIR, .flags = RUNNER_S_EXCL, .path = at("new"), .number = 0710);
    const struct runner_step write = STEP(.kind = RUNNER_WRITE, .path = a, .data = "x", .len = 1, .number = 0600);
    const struct runner_step rename = STEP(.kind = RUNNER_RENAME, .flags = RUNNER_S_OPTIONAL, .path = a, .to = b);
    const struct runner_step otherwise = STEP(.kind = RUNNER_WRITE, .flags = RUNNER_S_ELSE, .path = a, .number = 0600);
    const struct runner_step remove_a = STEP(.kind = RUNNER_REMOVE, .path = a);
    const struct runner_step remove_b = STEP(.kind = RUNNER_REMOVE, .path = b);
    const struct runner_step clear = {
        .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = at("new"), .size = RUNNER_STEP_INIT};
    const struct runner_step absent[] = {make, remove_a, rename};
    const struct runner_step others[] = {make, rename, otherwise};
    const struct runner_step moved[] = {make, write, rename, remove_b, write, remove_a};
    const struct runner_step below[] = {make, STEP(.kind = RUNNER_MKDIR, .path = at("new/sub"), .number = 0700),
                                        STEP(.kind = RUNNER_WRITE, .path = inner, .number = 0600),
                                        STEP(.kind = RUNNER_REMOVE, .path = inner)};
    const struct runner_step ran[] = {make, STEP(.kind = RUNNER_RUN, ARGV("touch", a)), remove_a};
    const struct runner_step replaced[] = {STEP(.kind = RUNNER_MKDIR, .path = old, .number = 0700),
                                           STEP(.kind = RUNNER_WRITE, .path = old_a, .number = 0600),
                                           make,
                                           STEP(.kind = RUNNER_RENAME, .path = make.path, .to = at("gone")),
                                           STEP(.kind = RUNNER_RENAME, .path = old, .to = make.path),
                                           remove_a};
    const struct runner_step again[] = {make, write, STEP(.kind = RUNNER_MKDIR, .path = make.path, .number = 0710),
                                        remove_a};
    const struct runner_step *first = &make, *second = &remove_a;
    struct runner_result done = {.size = sizeof done};
    void *begun = NULL;

    tap_ok(run_all(absent, ARRAY_LEN(absent)) == 0 && result.status == 1 && run(clear) == 0,
           "a new directory: what is absent is removed, and not renamed");
    tap_ok(run_all(others, ARRAY_LEN(others)) == 0 && is_there(a) && run(clear) == 0,
           "a new directory: an ELSE behind what is absent");
    tap_ok(run_all(moved, ARRAY_LEN(moved)) == 0 && !is_there(a) && !is_there(b) && run(clear) == 0,
           "a new directory: what was made there is renamed and removed");
    tap_ok(run_all(below, ARRAY_LEN(below)) == 0 && is_there(at("new/sub")) && !is_there(inner) && run(clear) == 0,
           "a new directory: what was made below it is removed");
    tap_ok(run_all(ran, ARRAY_LEN(ran)) == 0 && !is_there(a) && run(clear) == 0,
           "a new directory: what a program made there is removed");
    tap_ok(run_all(replaced, ARRAY_LEN(replaced)) == 0 && is_there(make.path) && !is_there(a) && run(clear) == 0,
           "a new directory: another in its place");
    tap_ok(run_all(again, ARRAY_LEN(again)) == 0 && !is_there(a) && run(clear) == 0,
           "a new directory: made a second time");
    tap_ok(ops->begin(self, host_call(-1, -1), &first, 1, &done, &begun, &err) == 0 && run(write) == 0 &&
               ops->end(self, host_call(-1, -1), begun, &second, 1, &done, &err) == 0 && !is_there(a) &&
               run(clear) == 0,
           "a new directory: what another batch made there, between the parts of the first, is removed");
}

/* The directory of one step is not taken for that of a later one when the name is another's by then. */
static void check_kept(void)
{
    const char *d = at("kept");
    const struct runner_step make = STEP(.kind = RUNNER_MKDIR, .path = d, .number = 0710);
    const struct runner_step renamed[] = {make, STEP(.kind = RUNNER_WRITE, .path = at("kept/a"), .number = 0600),
                                          STEP(.kind = RUNNER_RENAME, .path = d, .to = at("moved")), make,
                                          STEP(.kind = RUNNER_WRITE, .path = at("kept/b"), .number = 0600)};
    const struct runner_step removed[] = {STEP(.kind = RUNNER_WRITE, .path = at("kept/c"), .number = 0600),
                                          STEP(.kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = d),
                                          make,
                                          STEP(.kind = RUNNER_WRITE, .path = at("kept/d"), .number = 0600),
                                          STEP(.kind = RUNNER_REMOVE, .path = at("kept/d")),
                                          STEP(.kind = RUNNER_WRITE, .path = at("kept/e"), .number = 0600)};

    tap_ok(run_all(renamed, ARRAY_LEN(renamed)) == 0 && is_there(at("moved/a")) && is_there(at("kept/b")) &&
               !is_there(at("moved/b")),
           "a directory that is renamed and made anew in one batch");
    tap_ok(run_all(removed, ARRAY_LEN(removed)) == 0 && is_there(at("kept/e")) && !is_there(at("kept/d")) &&
               !is_there(at("kept/b")),
           "a directory that is removed and made anew in one batch");
}

/* Blocks of zeros are holes, wherever they are. */
static void check_holes(void)
{
    static const struct {
        size_t len, at[3]; /* at: the bytes that are not zero */
        blkcnt_t blocks_max;
    } cases[] = {{200000, {0, 1, 2}, 16},          {200000, {199999, 0, 199998}, 24}, {200000, {100000, 1, 1}, 24},
                 {200000, {4095, 4096, 9000}, 32}, {8192, {8191, 8191, 8191}, 16},    {131080, {0, 65543, 131079}, 32}};
    const char *f = at("holes");
    auto_free char *data = mem_array(200000, 1);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stat st = {0};

        memset(data, 0, 200000);
        for (size_t k = 0; k < 3; k++)
            data[cases[i].at[k]] = (char)(k + 1);
        tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = data, .len = cases[i].len, .number = 0600) == 0 &&
                   stat(f, &st) == 0 && st.st_blocks <= cases[i].blocks_max &&
                   RUN(.kind = RUNNER_READ, .path = f, .number = 200000) == 0 && result.len == cases[i].len &&
                   memcmp(result.out, data, cases[i].len) == 0,
               "WRITE: %zu bytes, most of them zero", cases[i].len);
    }
    memset(data, 0, 200000);
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = data, .len = 200000, .number = 0600) == 0 &&
               RUN(.kind = RUNNER_READ, .path = f, .number = 200000) == 0 && result.len == 200000 &&
               memcmp(result.out, data, 200000) == 0,
           "WRITE: nothing but zeros");
}

static void check_patch(void)
{
    const char *f = at("patched");

    tap_ok(RUN(.kind = RUNNER_PATCH, .path = f, .data = "x", .len = 1) < 0 && says(RUNNER_E_NOTFOUND, f) &&
               !is_there(f),
           "PATCH: absent");
    tap_ok(RUN(.kind = RUNNER_WRITE, .path = f, .data = "abcdef", .len = 6, .number = 0640) == 0 &&
               RUN(.kind = RUNNER_PATCH, .path = f, .data = "XY", .len = 2, .number = 1) == 0 &&
               RUN(.kind = RUNNER_PATCH, .path = f, .data = "Z", .len = 1, .number = 8, .flags = RUNNER_S_SYNC) == 0 &&
               RUN(.kind = RUNNER_READ, .path = f, .number = 9) == 0 && result.len == 9 &&
               memcmp(result.out, "aXYdef\0\0Z", 9) == 0 && mode_of(f) == 0640,
           "PATCH: in place, and beyond the end");
    tap_ok(RUN(.kind = RUNNER_PATCH, .path = f, .data = "x", .len = 1, .number = -1) < 0 &&
               says(RUNNER_E_INVALID, "offset -1"),
           "PATCH: a negative offset");
    tap_ok(symlink(f, at("link")) == 0 && RUN(.kind = RUNNER_PATCH, .path = at("link"), .data = "x", .len = 1) < 0 &&
               unlink(at("link")) == 0,
           "PATCH: a link is not followed");
}

static void check_mkdir_and_list(void)
{
    const char *d = at("m/a/b");

    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700) < 0 && says(RUNNER_E_NOTFOUND, d), "MKDIR: no parent");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 02770, .flags = RUNNER_S_PARENTS) == 0 && mode_of(d) == 02770,
           "MKDIR with PARENTS: exact mode");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700) == 0 && mode_of(d) == 02770, "MKDIR: there already");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700, .flags = RUNNER_S_EXCL) < 0 && says(RUNNER_E_EXISTS, d),
           "MKDIR with EXCL: exists");
    (void)RUN(.kind = RUNNER_WRITE, .path = at("m/a/z"), .number = 0600);
    (void)RUN(.kind = RUNNER_WRITE, .path = at("m/a/c"), .number = 0600);
    tap_ok(RUN(.kind = RUNNER_LIST, .path = at("m/a")) == 0 && result.len == 6 &&
               memcmp(result.out, "b\0c\0z\0", 6) == 0,
           "LIST: sorted, each ended by NUL");
    tap_ok(RUN(.kind = RUNNER_LIST, .path = at("none")) < 0 && says(RUNNER_E_NOTFOUND, at("none")), "LIST: absent");
    tap_ok(RUN(.kind = RUNNER_STAT, .path = at("none/x")) == 0 && result.status == 1, "STAT: absent");
    tap_ok(RUN(.kind = RUNNER_STAT, .path = at("w")) == 0 && result.status == 0 && result.number == 6 &&
               result.number2 > 1000000000,
           "STAT: size and time");
    tap_ok(RUN(.kind = RUNNER_STATFS, .path = dir) == 0 && result.number > 0 && result.number2 >= result.number,
           "STATFS");
}

static void check_rename_and_grow(void)
{
    struct stat st;

    (void)RUN(.kind = RUNNER_WRITE, .path = at("r1"), .data = "1", .len = 1, .number = 0600);
    tap_ok(RUN(.kind = RUNNER_RENAME, .path = at("r1"), .to = at("r2"), .flags = RUNNER_S_SYNC) == 0 &&
               !is_there(at("r1")) && is_there(at("r2")),
           "RENAME");
    tap_ok(RUN(.kind = RUNNER_RENAME, .path = at("r1"), .to = at("r2")) < 0 && says(RUNNER_E_NOTFOUND, at("r1")),
           "RENAME: absent");
    tap_ok(RUN(.kind = RUNNER_RENAME, .path = at("r1"), .to = at("r2"), .flags = RUNNER_S_OPTIONAL) == 0 &&
               result.status == 1 && is_there(at("r2")) &&
               RUN(.kind = RUNNER_RENAME, .path = at("none/r1"), .to = at("r2"), .flags = RUNNER_S_OPTIONAL) == 0 &&
               result.status == 1,
           "RENAME with OPTIONAL: absent");
    tap_ok(RUN(.kind = RUNNER_RENAME, .path = at("r2"), .to = at("none/r3"), .flags = RUNNER_S_OPTIONAL) < 0 &&
               says(RUNNER_E_NOTFOUND, at("none")) &&
               RUN(.kind = RUNNER_RENAME, .path = at("r2"), .to = at("r3"), .flags = RUNNER_S_OPTIONAL) == 0 &&
               result.status == 0 && is_there(at("r3")) &&
               RUN(.kind = RUNNER_RENAME, .path = at("r3"), .to = at("r2")) == 0,
           "RENAME with OPTIONAL: there; no directory to go to");
    tap_ok(RUN(.kind = RUNNER_GROW, .path = at("g"), .number = 1 << 30) == 0 && stat(at("g"), &st) == 0 &&
               st.st_size == 1 << 30 && st.st_blocks == 0 && mode_of(at("g")) == 0600,
           "GROW makes a sparse file");
    tap_ok(RUN(.kind = RUNNER_GROW, .path = at("g"), .number = 5) < 0 && says(RUNNER_E_INVALID, "1073741824") &&
               stat(at("g"), &st) == 0 && st.st_size == 1 << 30,
           "GROW never shrinks");
}

static void check_clone(void)
{
    const char *from = at("sparse"), *to = at("copy");
    int fd = open(from, O_RDWR | O_CREAT, 0600);
    struct stat a, b;
    char tail[4] = "";

    if (pwrite(fd, "head", 4, 0) != 4 || pwrite(fd, "tail", 4, 64 << 20) != 4 || ftruncate(fd, 200 << 20) < 0)
        tap_note("cannot make the sparse file");
    close(fd);
    tap_ok(RUN(.kind = RUNNER_CLONE, .path = from, .to = to, .number = 0640) == 0 && mode_of(to) == 0640, "CLONE");
    fd = open(to, O_RDONLY);
    tap_ok(stat(from, &a) == 0 && stat(to, &b) == 0 && a.st_size == b.st_size && b.st_blocks <= a.st_blocks + 64 &&
               pread(fd, tail, 4, 64 << 20) == 4 && memcmp(tail, "tail", 4) == 0,
           "CLONE: same size and data, holes kept");
    close(fd);
    tap_ok(RUN(.kind = RUNNER_CLONE, .path = from, .to = to, .number = 0640) < 0 && says(RUNNER_E_EXISTS, to),
           "CLONE: exists");
    tap_ok(RUN(.kind = RUNNER_CLONE, .path = at("none"), .to = at("copy2"), .number = 0640) < 0 &&
               says(RUNNER_E_NOTFOUND, at("none")) && !is_there(at("copy2")),
           "CLONE: absent");
}

/* A VMM that somebody else owns may have made any. */
static void check_remove_deep(void)
{
    int at_fd = open(at("."), O_RDONLY | O_DIRECTORY);
    const char *name = "deep";

    for (int i = 0; i < 1000; i++, name = i % 100 == 50 ? ".deep-1" : "d") {
        int next = -1;

        if (mkdirat(at_fd, name, 0700) < 0 || (next = openat(at_fd, name, O_RDONLY | O_DIRECTORY)) < 0)
            tap_note("cannot make directory %d", i);
        close(at_fd);
        at_fd = next;
    }
    close(at_fd);
    for (int i = 1; i < 4; i++)
        (void)mkdir(keep(mem_printf("%s/.deep-%d", at("deep"), i)), 0700);
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("deep"), .to = ".deep-2", .flags = RUNNER_S_TREE) == 0 &&
               !is_there(at("deep")),
           "REMOVE: a tree of any depth: %s", err.message);
}

/* In whatever order they are listed, each can be the last. */
static bool is_each_kept(const char *names)
{
    bool is_kept = true;

    for (const char *name = names; *name != '\0'; name++) {
        const char last[2] = {*name, '\0'};

        for (const char *again = names; *again != '\0'; again++)
            (void)mkdir(keep(mem_printf("%s/%c", at("held"), *again)), 0700);
        is_kept = is_kept && RUN(.kind = RUNNER_REMOVE, .path = at("held"), .to = last, .flags = RUNNER_S_TREE) < 0 &&
                  says(RUNNER_E_BUSY, "another file system") && is_there(keep(mem_printf("%s/%c", at("held"), *name)));
    }
    return is_kept;
}

static void check_remove_last(void)
{
    (void)mkdir(at("held"), 0700);
    (void)mkdir(at("held/d"), 0700);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", at("held/d"), "tmpfs", 0, NULL) < 0) {
        tap_ok(true, "REMOVE: what goes last # SKIP no mounts here");
    } else {
        tap_ok(is_each_kept("abcefg"), "REMOVE: what goes last is there as long as anything else is");
        (void)umount2(at("held/d"), MNT_DETACH);
    }
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("held"), .to = "g", .flags = RUNNER_S_TREE) == 0 &&
               !is_there(at("held")),
           "REMOVE: in the end it goes too");
}

static void check_remove(void)
{
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("r2")) == 0 && !is_there(at("r2")), "REMOVE: a file");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("r2")) == 0 && RUN(.kind = RUNNER_REMOVE, .path = at("no/such")) == 0,
           "REMOVE: absent is fine");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("m")) < 0 && says(RUNNER_E_INVALID, "directory") &&
               is_there(at("m/a/z")),
           "REMOVE without TREE: not a directory");
    if (mkdir(at("out"), 0700) < 0 || mkdir(at("out/x"), 0700) < 0 || symlink(at("out"), at("m/link")) < 0 ||
        symlink(at("out"), at("toplink")) < 0)
        tap_note("cannot make links");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("m"), .flags = RUNNER_S_TREE) == 0 && !is_there(at("m")) &&
               is_there(at("out/x")),
           "s01: REMOVE: a tree, its links not followed");
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = at("toplink"), .flags = RUNNER_S_TREE) == 0 && !is_there(at("toplink")) &&
               is_there(at("out/x")),
           "REMOVE: a link is removed itself");
    check_remove_deep();
    check_remove_last();
    tap_ok(RUN(.kind = RUNNER_REMOVE, .path = "/", .flags = RUNNER_S_TREE) < 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = "/tmp/..", .flags = RUNNER_S_TREE) < 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = at("."), .flags = RUNNER_S_TREE) < 0 &&
               RUN(.kind = RUNNER_REMOVE, .path = "/nonexistent-top", .flags = RUNNER_S_TREE) == 0 &&
               is_there(at("out/x")),
           "REMOVE: '/', '.' and '..' are refused");
}

void check_files(void)
{
    check_write_and_read();
    check_fresh();
    check_new();
    check_kept();
    check_holes();
    check_patch();
    check_mkdir_and_list();
    check_rename_and_grow();
    check_clone();
    check_remove();
}
