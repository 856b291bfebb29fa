/* A machine out of the command line, as a probe of the host starts one. */
#ifndef FAKE_CH_DIRECT_H
#define FAKE_CH_DIRECT_H

#include <stdbool.h>

struct direct { /* values of options, NULL where they were not given */
    const char *kernel, *firmware, *initramfs, *cmdline, *memory, *cpus, *serial, *console, *restore;
    bool has_pvpanic;
};
/* Boots it, or restores it; ends the process when that fails, or when there is neither a machine nor an API.
 * Wish: kvm fail|hang, what a machine does on this host; without it, it works. */
void direct_start(const struct direct *d);

#endif
