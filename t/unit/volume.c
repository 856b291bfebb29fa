#include "t/unit/volume.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t le32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The name in the NM entry of a directory record, or "". */
static void rock_ridge_name(const unsigned char *record, char name[64])
{
    const unsigned char *p = record + 33 + record[32] + (record[32] % 2 == 0), *end = record + record[0];

    name[0] = '\0';
    for (; p + 4 <= end && p[2] >= 4; p += p[2])
        if (p[0] == 'N' && p[1] == 'M' && p[2] < 64) {
            memcpy(name, p + 5, p[2] - 5u);
            name[p[2] - 5] = '\0';
        }
}

char *volume_read(const struct str *iso, const char *wanted, size_t *ret_len)
{
    const unsigned char *bytes = (const unsigned char *)iso->ptr, *root = bytes + 16 * SECTOR + 156, *dir;

    cr_assert_eq(memcmp(bytes + 16 * SECTOR, "\1CD001", 6), 0);
    dir = bytes + (size_t)le32(root + 2) * SECTOR;
    for (const unsigned char *p = dir; p < dir + le32(root + 10) && p[0] != 0; p += p[0]) {
        char name[64];
        rock_ridge_name(p, name);
        if (strcmp(name, wanted) != 0)
            continue;
        *ret_len = le32(p + 10);
        cr_assert_leq((size_t)le32(p + 2) * SECTOR + *ret_len, iso->len);
        return mem_dup_n(iso->ptr + (size_t)le32(p + 2) * SECTOR, *ret_len);
    }
    return NULL;
}

void scratch_make(struct scratch *s, const void *data, size_t len)
{
    auto_close int fd = -1;

    memcpy(s->dir, "/tmp/test-seed.XXXXXX", 22);
    cr_assert_not_null(mkdtemp(s->dir));
    (void)snprintf(s->in, sizeof s->in, "%s/in", s->dir);
    (void)snprintf(s->out, sizeof s->out, "%s/out", s->dir);
    fd = open(s->in, O_WRONLY | O_CREAT | O_EXCL, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
}

void scratch_read(const struct scratch *s, char *text, size_t size)
{
    auto_fclose FILE *file = fopen(s->out, "r");

    cr_assert_not_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
}

void scratch_remove(const struct scratch *s)
{
    unlink(s->in);
    unlink(s->out);
    rmdir(s->dir);
}
