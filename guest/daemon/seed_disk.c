#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "guest/daemon/disk.h"
#include "guest/daemon/seed.h"

int seed_load_disk(struct seed *ret, struct runner_error *err)
{
    char dir[] = "/tmp/runner-seed.XXXXXX";
    auto_free char *device = NULL;
    auto_free char *file = NULL;
    int status;

    if (disk_find_iso("cidata", &device, err) < 0)
        return -1;
    if (mkdtemp(dir) == NULL)
        return fail_errno(err, errno, "make '%s'", dir);
    file = mem_printf("%s/runner.json", dir);
    if (mount(device, dir, "iso9660", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
        status = fail_errno(err, errno, "mount the seed '%s'", device);
    } else {
        status = seed_load(file, ret, err);
        (void)umount2(dir, MNT_DETACH);
    }
    (void)rmdir(dir);
    return status;
}
