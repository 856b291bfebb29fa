/* The machine that is asked for of a VMM. */
#include <stddef.h>

#include "kit/guard.h"
#include "kit/vmm.h"

#define OLDEST_VM    (offsetof(struct runner_vm, nics) + sizeof(void *))
#define OLDEST_NIC   (offsetof(struct runner_nic, guest_port) + sizeof(uint32_t))
#define MEMORY_BYTES (INT64_C(1) << 30)
#define DISK_BYTES   (INT64_C(16) << 20)
#define KERNEL_BYTES (INT64_C(5) << 20)

/* The texts of requests, made once. */
static struct {
    char *socket, *pid, *log, *serial, *disk, *kernel, *initramfs;
} paths;

static char *below(const struct subject *s, const char *name)
{
    return mem_printf("%s/%s", s->dir, name);
}

static void make_paths(const struct subject *s)
{
    if (paths.socket != NULL)
        return;
    paths.socket = below(s, "run/sb1.sock");
    paths.pid = below(s, "sandboxes/sb1/vmm.pid");
    paths.log = below(s, "sandboxes/sb1/vmm.log");
    paths.serial = below(s, "sandboxes/sb1/serial.log");
    paths.disk = below(s, "sandboxes/sb1/disk.raw");
    paths.kernel = below(s, "snapshots/base/vmlinux");
    paths.initramfs = below(s, "snapshots/base/initramfs");
}

static void put_file(struct subject *s, const char *path, int64_t size_bytes)
{
    if (world_file_size(s->world, path) < 0)
        world_add_file(s->world, path, size_bytes);
}

void machine_init(struct subject *s, struct machine *m)
{
    make_paths(s);
    put_file(s, paths.disk, DISK_BYTES);
    put_file(s, paths.kernel, KERNEL_BYTES);
    put_file(s, paths.initramfs, KERNEL_BYTES);
    machine_fill(s, m);
}

void machine_fill(const struct subject *s, struct machine *m)
{
    *m = (struct machine){
        .nic = {.size = sizeof m->nic,
                .kind = RUNNER_NIC_TAP,
                .name = "tap-sb1",
                .mac = "02:00:00:00:00:01",
                .address = "10.0.0.2",
                .gateway = "10.0.0.1",
                .prefix_len = 24},
        .disk = {.size = sizeof m->disk, .path = paths.disk, .format = "raw", .size_bytes = DISK_BYTES},
        .vm = {.size = sizeof m->vm,
               .id = "sb1",
               .dir = s->sandbox_dir,
               .socket_path = paths.socket,
               .pid_path = paths.pid,
               .log_path = paths.log,
               .serial_path = paths.serial,
               .vmm_dir = s->sandbox_dir,
               .kernel = paths.kernel,
               .initramfs = paths.initramfs,
               .cmdline = "console=ttyS0 root=/dev/vda rw",
               .cpus = 1,
               .max_cpus = 2,
               .memory_bytes = MEMORY_BYTES,
               .max_memory_bytes = MEMORY_BYTES,
               .n_disks = 1,
               .n_nics = 1},
    };
    m->disks[0] = &m->disk;
    m->nics[0] = &m->nic;
    m->vm.disks = m->disks;
    m->vm.nics = m->nics;
}

const struct runner_vm *machine_in(enum layout layout, struct machine *m)
{
    guard_reset();
    m->disks[0] = guard_put(layout, &m->disk, sizeof m->disk, sizeof m->disk);
    m->nics[0] = guard_put(layout, &m->nic, sizeof m->nic, OLDEST_NIC);
    return guard_put(layout, &m->vm, sizeof m->vm, OLDEST_VM);
}
