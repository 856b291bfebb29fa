#include <criterion/criterion.h>

#include "guest/daemon/hotplug.h"

/* As the kernel writes them: texts, each with its NUL, the first of which says all. */
Test(guest_hotplug, only_processors_that_come_are_looked_at)
{
    static const struct {
        const char *message;
        int number;
    } cases[] = {
        {"add@/devices/system/cpu/cpu1", 1},
        {"add@/devices/system/cpu/cpu127", 127},
        {"remove@/devices/system/cpu/cpu1", -1},
        {"online@/devices/system/cpu/cpu1", -1},
        {"add@/devices/system/cpu/cpu", -1},
        {"add@/devices/system/cpu/cpu1/cache", -1},
        {"add@/devices/system/cpu/cpu-1", -1},
        {"add@/devices/system/cpu/cpu99999", -1},
        {"add@/devices/system/memory/memory40", -1},
        {"add@/devices/virtual/x/devices/system/cpu/cpu1", -1},
        {"libudev", -1},
        {"", -1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_expect_eq(hotplug_cpu_of(cases[i].message, strlen(cases[i].message) + 1), cases[i].number, "%s",
                     cases[i].message);
    cr_expect_eq(hotplug_cpu_of("add@/devices/system/cpu/cpu12", 28), -1, "without its end");
}
