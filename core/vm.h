/* The machine of a sandbox, as a vmm plugin is told of it. */
#ifndef CORE_VM_H
#define CORE_VM_H

#include "core/host.h"
#include "core/record.h"

struct vm_view {
    struct runner_vm vm;
    struct runner_image images[2];
    const struct runner_image *disks[2];
    struct runner_nic nic;
    const struct runner_nic *nics[1];
    char *dir, *vmm_dir, *socket_path, *pid_path, *log_path, *serial_path, *seed_path;
};

/* The record stays the caller's and must outlive the view. */
void vm_view_init(struct vm_view *view, const struct host *host, const struct record *record);
void vm_view_done(struct vm_view *view); /* one of zeros, too */
#define auto_vm_view CLEANUP(vm_view_done)

#endif
