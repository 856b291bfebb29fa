#include "guest/daemon/unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/util/str.h"

#define PROGRAM "/run/runner-guestd"
#define UNITS   "/run/systemd/system"
#define NAME    "runner-guestd.service"

/* Early: it answers while other units are still at work. */
static const char unit[] = "[Unit]\n"
                           "Description=Guest daemon of runner-ch\n"
                           "DefaultDependencies=no\n"
                           "After=local-fs.target\n"
                           "Conflicts=shutdown.target\n"
                           "Before=shutdown.target\n"
                           "\n"
                           "[Service]\n"
                           "ExecStart=" PROGRAM " --seed auto\n"
                           "Restart=always\n"
                           "RestartSec=1\n"
                           "OOMScoreAdjust=-900\n"
                           "KillMode=process\n";

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Of the initramfs, where it has no name any more. */
static int copy_program(struct runner_error *err)
{
    auto_close int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    auto_close int to = open(PROGRAM, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    char buffer[65536];
    ssize_t n = -1;

    while (from >= 0 && to >= 0 && (n = read(from, buffer, sizeof buffer)) > 0)
        if (write_all(to, buffer, (size_t)n) < 0)
            return fail_errno(err, errno, "write '%s'", PROGRAM);
    return n == 0 ? 0 : fail_errno(err, errno, "copy the daemon to '%s'", PROGRAM);
}

int unit_install(struct runner_error *err)
{
    static const char *const dirs[] = {"/run/systemd", UNITS, UNITS "/sysinit.target.wants"};
    auto_close int fd = -1;

    if (copy_program(err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        if (mkdir(dirs[i], 0755) < 0 && errno != EEXIST)
            return fail_errno(err, errno, "make '%s'", dirs[i]);
    fd = open(UNITS "/" NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write_all(fd, unit, strlen(unit)) < 0)
        return fail_errno(err, errno, "write '%s'", UNITS "/" NAME);
    if (symlink("../" NAME, UNITS "/sysinit.target.wants/" NAME) < 0 && errno != EEXIST)
        return fail_errno(err, errno, "enable '%s'", NAME);
    return 0;
}
