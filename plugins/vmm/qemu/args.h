/* The command line of one machine: a function from what is wanted to a list of words, without a look at the host. */
#ifndef QEMU_ARGS_H
#define QEMU_ARGS_H

#include "core/util/str.h"
#include "plugins/vmm/qemu/qemu.h"

/* Descriptor numbers in the new process. */
enum { ARGS_FD_QMP = 3, ARGS_FD_SERIAL = 4, ARGS_FD_NIC = 8 /* the first TAP; one each */ };

#define ARGS_DISKS_MAX 12
#define ARGS_NICS_MAX  8

struct args {
    char **words; /* ends with NULL */
    size_t n;
};
#define ARGS_INIT                                                                                                      \
    {                                                                                                                  \
        NULL, 0                                                                                                        \
    }
void args_done(struct args *args);
#define auto_args CLEANUP(args_done)

void args_add(struct args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The text with commas doubled, as option values want them; the caller frees. */
char *args_value(const char *text);

/* -machine and -bios. */
void args_add_machine(struct args *args, const struct qemu_facts *facts);
/* -accel and -cpu. */
void args_add_accel(struct args *args, const struct qemu *qemu, bool has_kvm);

/* Everything. INVALID, with the cause, for a machine that cannot be built. */
int args_build(const struct qemu *qemu, const struct qemu_facts *facts, const struct runner_vm *vm, struct args *ret,
               struct runner_error *err);

#endif
