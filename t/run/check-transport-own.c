/* Of check-transport: OWN. What another user laid must not make root give away, or open up, anything else. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define OTHER 54321u

static int own(const char *path, unsigned mode, uint32_t uid)
{
    return RUN(.kind = RUNNER_OWN, .path = path, .number = mode, .uid = uid, .gid = uid);
}

static bool is_owned(const char *path, unsigned mode, uint32_t uid)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return false;
    if ((st.st_mode & 07777) == mode && st.st_uid == uid && st.st_gid == uid)
        return true;
    tap_note("%s: mode %04o, owner %u:%u", path, st.st_mode & 07777, st.st_uid, st.st_gid);
    return false;
}

static void make_file(const char *path)
{
    (void)RUN(.kind = RUNNER_WRITE, .path = path, .data = "x", .len = 1, .number = 0600);
}

static void check_links(void)
{
    const char *victim = at("o/victim"), *by_link = at("o/theirs/link"), *second = at("o/theirs/second");

    make_file(victim);
    if (symlink(victim, by_link) < 0 || link(victim, second) < 0 || symlink(at("o"), at("o/theirs/up")) < 0 ||
        lchown(at("o/theirs/up"), OTHER, OTHER) < 0 || symlink(at("o/dir"), at("o/ours")) < 0)
        tap_note("cannot make the links");
    tap_ok(own(by_link, 0666, OTHER) < 0 && says(RUNNER_E_INVALID, "is a link") && is_owned(victim, 0600, 0),
           "OWN: a link is refused, what it names stays as it was");
    tap_ok(own(second, 0666, OTHER) < 0 && says(RUNNER_E_INVALID, "2 names") && is_owned(victim, 0600, 0),
           "OWN: a second name of another's file is refused");
    tap_ok(own(at("o/theirs/up/victim"), 0666, OTHER) < 0 && says(RUNNER_E_INVALID, "link is on the way") &&
               is_owned(victim, 0600, 0),
           "OWN: another user's link on the way is not followed");
    tap_ok(unlink(second) == 0 && lchown(at("o/theirs/up"), 0, 0) == 0 &&
               own(at("o/theirs/up/victim"), 0666, OTHER) < 0 && says(RUNNER_E_INVALID, "link is on the way") &&
               is_owned(victim, 0600, 0),
           "OWN: nor is one of root's in a directory where the other could have put it");
    tap_ok(own(at("o/ours/f"), 0640, OTHER) == 0 && is_owned(at("o/dir/f"), 0640, OTHER),
           "OWN: root's link in root's directory is followed");
}

static void check_made(void)
{
    const char *f = at("o/made"), *d = at("o/made.d");

    tap_ok(RUN(.kind = RUNNER_WRITE, .flags = RUNNER_S_OWNED, .path = f, .data = "x", .len = 1, .number = 0400,
               .uid = OTHER, .gid = OTHER) == 0 &&
               is_owned(f, 0400, OTHER),
           "WRITE: the file is another's from the start");
    make_file(f);
    tap_ok(is_owned(f, 0600, 0), "WRITE: and the runner's again");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .flags = RUNNER_S_OWNED, .path = d, .number = 0710, .uid = OTHER, .gid = OTHER) ==
                   0 &&
               is_owned(d, 0710, OTHER),
           "MKDIR: the directory is another's");
    tap_ok(RUN(.kind = RUNNER_MKDIR, .flags = RUNNER_S_OWNED, .path = d, .number = 0700) == 0 &&
               is_owned(d, 0710, OTHER),
           "MKDIR: one that is there keeps its owner and mode");
}

void check_own(void)
{
    const char *f = at("o/dir/f"), *d = at("o/theirs"), *fifo = at("o/dir/fifo");
    size_t before = count_in("/proc/self/fd");

    (void)RUN(.kind = RUNNER_MKDIR, .path = at("o/dir"), .number = 0755, .flags = RUNNER_S_PARENTS);
    (void)RUN(.kind = RUNNER_MKDIR, .path = d, .number = 0700);
    make_file(f);
    tap_ok(own(at("o/none"), 0600, OTHER) < 0 && says(RUNNER_E_NOTFOUND, at("o/none")) &&
               own(at("none/x"), 0600, OTHER) < 0 && says(RUNNER_E_NOTFOUND, at("none")),
           "OWN: absent");
    tap_ok(own("relative", 0600, OTHER) < 0 && says(RUNNER_E_INVALID, "not absolute"), "OWN: a relative path");
    if (geteuid() != 0) {
        tap_ok(own(f, 0640, OTHER) == 0 && result.status == 1 && is_owned(f, 0640, geteuid()),
               "OWN without root: the mode only, and it says so");
        return;
    }
    tap_ok(own(f, 0640, OTHER) == 0 && result.status == 0 && is_owned(f, 0640, OTHER), "OWN: a file");
    tap_ok(own(f, 0600, OTHER) == 0 && own(f, 0600, OTHER) == 0 && is_owned(f, 0600, OTHER), "OWN: again");
    tap_ok(own(d, 0710, OTHER) == 0 && is_owned(d, 0710, OTHER), "OWN: a directory");
    tap_ok(mkfifo(fifo, 0600) == 0 && own(fifo, 0660, OTHER) == 0 && is_owned(fifo, 0660, OTHER), "OWN: a FIFO");
    tap_ok(mknod(at("o/dir/null"), S_IFCHR | 0600, makedev(1, 3)) < 0 ||
               (own(at("o/dir/null"), 0666, OTHER) < 0 && says(RUNNER_E_INVALID, "is a device")),
           "OWN: a device is refused");
    check_links();
    check_made();
    tap_ok(own(f, 0600, 0) == 0 && is_owned(f, 0600, 0), "OWN: back to root");
    tap_ok(count_in("/proc/self/fd") == before, "OWN: no descriptor is left");
}
