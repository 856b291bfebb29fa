#include "core/util/fd.h"

#include <fcntl.h>
#include <unistd.h>

int fd_park(int fd)
{
    int parked = fd >= 0 && fd < FD_PARKED_MIN ? fcntl(fd, F_DUPFD_CLOEXEC, FD_PARKED_MIN) : -1;

    if (parked < 0)
        return fd;
    close(fd);
    return parked;
}
