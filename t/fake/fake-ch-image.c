/* Images of disks: how far they are looked into before they are used. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

int image_errno(struct cause *c, const char *path, int number)
{
    auto_free char *text = mem_printf("I/O error (path=%s op=open)", path);

    return cause_errno(c, number, "Cannot open disk path", text, NULL);
}

static int unsupported(struct cause *c, const char *path)
{
    auto_free char *text = mem_printf("Unsupported feature (path=%s op=open)", path);

    return cause_set(c, "Cannot open disk path", text, "Maximum disk nesting depth exceeded", NULL);
}

static int backing_errno(struct cause *c, const char *path, const char *backing, int number)
{
    auto_free char *text = mem_printf("I/O error (path=%s op=open)", path);
    auto_free char *more = mem_printf("Backing file I/O error: %s", backing);

    return cause_errno(c, number, "Cannot open disk path", text, more, NULL);
}

/* The backing file that a qcow2 image names, which is not opened but when that is asked for. */
static int check_backing(struct cause *c, const char *path, int fd, bool is_followed, bool *ret_has_backing)
{
    unsigned char head[20];
    char name[1024] = "";
    uint64_t at = 0;
    size_t len = 0;

    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, "QFI\xfb", 4) != 0)
        return 0;
    for (int i = 8; i < 16; i++)
        at = at << 8 | head[i];
    for (int i = 16; i < 20; i++)
        len = len << 8 | head[i];
    if (at == 0 || len == 0)
        return 0;
    if (!is_followed)
        return unsupported(c, path);
    if (len >= sizeof name || pread(fd, name, len, (off_t)at) != (ssize_t)len)
        return image_errno(c, path, EINVAL);
    *ret_has_backing = true;
    if (!landlock_allows(name, false))
        return backing_errno(c, path, name, EACCES);
    return access(name, R_OK) < 0 ? backing_errno(c, path, name, errno) : 0;
}

static int check_type(struct cause *c, const char *path, int fd, const char *wanted)
{
    char head[8] = "";
    bool is_qcow2 = pread(fd, head, sizeof head, 0) >= 4 && memcmp(head, "QFI\xfb", 4) == 0;

    if ((strcmp(wanted, "Raw") != 0 || !is_qcow2) && (strcmp(wanted, "Qcow2") != 0 || is_qcow2))
        return 0;
    (void)path;
    return cause_setf(c, NULL, "Disk image type does not match expected type: specified = %s, detected = %s",
                      is_qcow2 ? "raw" : "qcow2", is_qcow2 ? "qcow2" : "raw");
}

int image_check(struct cause *c, const struct json *disk, int fd, bool *ret_has_backing)
{
    const char *path = json_text(disk, "path", "");
    char sector[512];

    *ret_has_backing = false;
    if (pread(fd, sector, sizeof sector, 0) != (ssize_t)sizeof sector)
        return cause_set(c, "Cannot open disk path", "I/O error (op=detect_image_type)", "failed to fill whole buffer",
                         NULL);
    if (check_type(c, path, fd, json_text(disk, "image_type", "")) < 0)
        return -1;
    return check_backing(c, path, fd, json_bool(disk, "backing_files", false), ret_has_backing);
}
