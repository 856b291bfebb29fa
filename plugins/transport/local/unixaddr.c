#include "plugins/transport/local/unixaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int unixaddr_make(const char *path, struct sockaddr_un *ret, int *ret_dir, struct runner_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    auto_free char *parent = NULL;
    const char *name = strrchr(path, '/');
    int dir;

    *ret_dir = -1;
    if (name == NULL || name[1] == '\0')
        return fail(err, RUNNER_E_INVALID, 0, "socket '%s' is no absolute path", path);
    if (len < sizeof address.sun_path) {
        memcpy(address.sun_path, path, len);
        *ret = address;
        return 0;
    }
    parent = mem_dup_n(path, (size_t)(name - path));
    dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail_errno(err, errno, "directory '%s'", parent);
    len = (size_t)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d%s", dir, name);
    if (len >= sizeof address.sun_path) {
        close(dir);
        return fail(err, RUNNER_E_INVALID, 0, "socket name '%s' is too long", name + 1);
    }
    *ret = address;
    *ret_dir = dir;
    return 0;
}
