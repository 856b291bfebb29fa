#include "core/vm.h"

#include <string.h>

#include "core/nic.h"

void vm_view_init(struct vm_view *view, const struct host *host, const struct record *record)
{
    memset(view, 0, sizeof *view);
    view->dir = host_sandbox_dir(host, record->id);
    view->socket_path = host_socket_path(host, record->id);
    view->pid_path = host_sandbox_path(host, record->id, "vmm.pid");
    view->log_path = host_sandbox_path(host, record->id, "vmm.log");
    view->serial_path = host_sandbox_path(host, record->id, "serial.log");
    view->vmm_dir = host_sandbox_path(host, record->id, "vmm");
    view->seed_path = host_sandbox_path(host, record->id, "cloud-init.iso");
    view->images[0] = (struct runner_image){.size = sizeof view->images[0],
                                            .path = record->disk.path,
                                            .format = record->disk.format,
                                            .backing_path = record->disk.backing_path,
                                            .backing_format = record->disk.backing_format,
                                            .size_bytes = record->disk.size_bytes};
    view->images[1] = (struct runner_image){
        .size = sizeof view->images[1], .flags = RUNNER_I_READONLY, .path = view->seed_path, .format = "raw"};
    view->disks[0] = &view->images[0];
    view->disks[1] = &view->images[1];
    view->nic = nic_of_guest(&record->nic);
    view->nics[0] = &view->nic;
    view->vm = (struct runner_vm){.size = sizeof view->vm,
                                  .id = record->id,
                                  .dir = view->dir,
                                  .socket_path = view->socket_path,
                                  .pid_path = view->pid_path,
                                  .log_path = view->log_path,
                                  .serial_path = view->serial_path,
                                  .cpus = record->cpus,
                                  .max_cpus = record->cpus * 2,
                                  .memory_bytes = record->memory_bytes,
                                  .max_memory_bytes = record->memory_bytes * 2,
                                  .kernel = record->boot.kernel,
                                  .initramfs = record->boot.initramfs,
                                  .cmdline = record->boot.cmdline,
                                  .n_disks = record->disk.path != NULL ? 2 : 0,
                                  .n_nics = record->nic.size != 0 ? 1 : 0,
                                  .disks = view->disks,
                                  .nics = view->nics,
                                  .uid = record->vmm.uid,
                                  .gid = record->vmm.uid,
                                  .firmware = record->boot.firmware,
                                  .vmm_dir = view->vmm_dir,
                                  .cgroup = record->vmm.cgroup};
}

void vm_view_done(struct vm_view *view)
{
    free(view->dir);
    free(view->vmm_dir);
    free(view->socket_path);
    free(view->pid_path);
    free(view->log_path);
    free(view->serial_path);
    free(view->seed_path);
}
