#include "guest/daemon/hotplug.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/num.h"
#include "core/util/str.h"

#define CPUS        "/sys/devices/system/cpu"
#define KERNEL      1 /* the group of the kernel's own messages; udev has another */
#define MESSAGE_MAX 8192
#define CPU_MAX     8191

int hotplug_open(void)
{
    const struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = KERNEL};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&all, sizeof all) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int hotplug_cpu_of(const char *message, size_t len)
{
    static const char head[] = "add@/devices/system/cpu/cpu";
    int64_t number;

    if (memchr(message, '\0', len) == NULL || strncmp(message, head, sizeof head - 1) != 0 ||
        !num_int(message + sizeof head - 1, 0, CPU_MAX, &number))
        return -1;
    return (int)number;
}

/* The first processor of many machines has no such file: it is never offline. */
static void bring_online(int64_t number)
{
    auto_free char *path = mem_printf(CPUS "/cpu%d/online", (int)number);
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "1", 1) == 1)
        (void)fprintf(stderr, "runner-guestd: processor %d is online\n", (int)number);
    else
        (void)fprintf(stderr, "runner-guestd: %s: %s\n", path, strerror(errno));
}

/* Messages were lost: whichever they told of. */
static void bring_all_online(void)
{
    auto_dir DIR *dir = opendir(CPUS);
    const struct dirent *entry;
    int64_t number;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strncmp(entry->d_name, "cpu", 3) == 0 && num_int(entry->d_name + 3, 0, CPU_MAX, &number))
            bring_online(number);
}

void hotplug_take(int fd)
{
    char message[MESSAGE_MAX];
    struct sockaddr_nl from;
    socklen_t from_len = sizeof from;
    ssize_t n;

    while ((n = recvfrom(fd, message, sizeof message, 0, (struct sockaddr *)&from, &from_len)) > 0 || errno == ENOBUFS) {
        int number = n > 0 && from.nl_pid == 0 ? hotplug_cpu_of(message, (size_t)n) : -1;

        from_len = sizeof from;
        if (n <= 0)
            bring_all_online();
        else if (number >= 0)
            bring_online(number);
    }
}
