/* What an older runner may have left: a config.json in both forms, the file `ip`, the head of a disk image. */
#include <string.h>

#include "core/foreign.h"
#include "plugins/disk/common/inspect.h"
#include "plugins/vmm/cloud-hypervisor/vmread.h"
#include "t/fuzz/fuzz.h"

static void *fuzz_alloc(size_t size)
{
    return calloc(1, size);
}

static const struct runner_host host = {.size = sizeof host, .alloc = fuzz_alloc, .release = free};

static void check_bounds(const struct foreign *foreign)
{
    const char *path = foreign->disk_path;

    need(foreign->cpus <= 254 && foreign->memory_bytes >= 0 && foreign->memory_bytes <= INT64_C(1) << 44);
    need(foreign->created_ms >= 0);
    need(memchr(foreign->tap, '\0', sizeof foreign->tap) != NULL);
    need(memchr(foreign->mac, '\0', sizeof foreign->mac) != NULL);
    if (path != NULL && foreign_check_path("/r", "sb-1", "disk", path, true, NULL) == 0)
        need(strncmp(path, "/r/sandboxes/sb-1/", 18) == 0 && strstr(path, "/../") == NULL);
}

static int read_machine(const char *text, size_t size, struct foreign *ret, struct runner_error *err)
{
    struct ch ch = {.host = &host};
    struct runner_machine machine = {.size = sizeof machine};
    int status;

    if (vmread_text(&ch, text, size, &machine, err) < 0)
        return -1;
    status = foreign_take_machine(ret, &machine, err);
    foreign_release(&machine);
    return status;
}

static void read_config(const char *text, size_t size)
{
    auto_foreign struct foreign foreign = FOREIGN_INIT;
    struct runner_error err = ERROR_INIT;
    enum foreign_form form = FOREIGN_RECORD;
    int status = foreign_form(text, size, &form, &err);

    if (status == 0)
        status = form == FOREIGN_RECORD ? foreign_read_record(text, size, "sb-1", &foreign, &err)
                                        : read_machine(text, size, &foreign, &err);
    if (status < 0)
        need_reason(&err);
    check_bounds(&foreign);
}

static void read_ip(const char *text, size_t size)
{
    auto_foreign struct foreign foreign = FOREIGN_INIT;
    struct runner_error err = ERROR_INIT;

    if (foreign_read_ip(text, size, &foreign, &err) < 0)
        need_reason(&err);
    else
        need(foreign.address[0] != '\0');
}

static void read_image(const char *head, size_t size)
{
    auto_inspected struct inspected found = {.size_bytes = 0};
    struct runner_error err = ERROR_INIT;
    auto_free char *ref = NULL;

    if (inspect_head(head, size, (int64_t)size, &found, &err) < 0) {
        need_reason(&err);
        return;
    }
    need(found.size_bytes >= 512 && found.size_bytes <= DISK_SIZE_MAX);
    need((found.backing_path != NULL) == (found.backing_format != NULL));
    ref = foreign_snapshot_of("/r", found.backing_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = mem_dup_n((const char *)data, size); /* exactly so long */

    read_config(text, size);
    read_ip(text, size);
    read_image(text, size);
    return 0;
}
