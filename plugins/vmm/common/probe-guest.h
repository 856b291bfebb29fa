/*
 * The tiny guest: some 200 bytes that show whether an accelerator runs code as a Linux kernel needs it. It is entered
 * in protected mode, turns on paging and long mode, says PROBE_MARKER on the first serial port and ends the machine.
 */
#ifndef VMM_COMMON_PROBE_GUEST_H
#define VMM_COMMON_PROBE_GUEST_H

#include <stddef.h>

#define PROBE_MARKER                                                                                                   \
    "runner-probe-ok" /* the sandbox kernel's init says the same with runner.probe on its command line */

/* The image for a multiboot loader (QEMU's -kernel), and its size in bytes; 0 where the runner itself was not built for
 * x86-64. It ends by a reset, which ends a QEMU that has -no-reboot with status 0. */
const void *probe_guest(size_t *ret_size);

/* The same as an ELF file with a PVH entry. It ends by ACPI's power off (S5) at port 0x600, as Cloud Hypervisor has
 * it. */
const void *probe_guest_pvh(size_t *ret_size);

#endif
