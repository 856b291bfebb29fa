/*
 * A guest of some two hundred bytes that shows whether an accelerator runs code as a Linux kernel needs it: the firmware
 * boots in real mode, a multiboot loader enters protected mode, the guest turns on paging and long mode, says
 * PROBE_MARKER on the first serial port and resets the machine (which ends a QEMU that has -no-reboot with status 0).
 */
#ifndef VMM_COMMON_PROBE_GUEST_H
#define VMM_COMMON_PROBE_GUEST_H

#include <stddef.h>

#define PROBE_MARKER                                                                                                   \
    "runner-probe-ok" /* the sandbox kernel's init says the same with runner.probe on its command line */

/* The image, to be given to -kernel, and its size in bytes; 0 where the runner itself was not built for x86-64. */
const void *probe_guest(size_t *ret_size);

#endif
