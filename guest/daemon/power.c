#include "guest/daemon/power.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>

#include "core/util/str.h"

static bool has_power_key(int fd)
{
    unsigned long bits[KEY_MAX / (8 * sizeof(unsigned long)) + 1] = {0};
    size_t width = 8 * sizeof bits[0];

    return ioctl(fd, EVIOCGBIT(EV_KEY, sizeof bits), bits) >= 0 &&
           (bits[KEY_POWER / width] >> (KEY_POWER % width) & 1) != 0;
}

size_t power_open_buttons(int ret[POWER_BUTTONS_MAX])
{
    auto_dir DIR *dir = opendir("/dev/input");
    const struct dirent *entry;
    size_t n = 0;

    while (dir != NULL && n < POWER_BUTTONS_MAX && (entry = readdir(dir)) != NULL) {
        auto_free char *path = mem_printf("/dev/input/%s", entry->d_name);
        int fd = strncmp(entry->d_name, "event", 5) == 0 ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
        if (fd >= 0 && has_power_key(fd))
            ret[n++] = fd;
        else if (fd >= 0)
            close(fd);
    }
    return n;
}

bool power_is_pressed(int fd)
{
    struct input_event event;
    bool is_pressed = false;

    while (read(fd, &event, sizeof event) == (ssize_t)sizeof event)
        is_pressed = is_pressed || (event.type == EV_KEY && event.code == KEY_POWER && event.value != 0);
    return is_pressed;
}

_Noreturn void power_reset(void)
{
    (void)reboot(RB_AUTOBOOT);
    for (;;)
        (void)pause();
}

_Noreturn void power_off(void)
{
    if (access("/sys/firmware/acpi", F_OK) == 0)
        (void)reboot(RB_POWER_OFF);
    power_reset();
}
