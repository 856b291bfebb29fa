#include "t/unit/volume.h"

#include <assert.h>
#include <stdint.h>
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

    assert(memcmp(bytes + 16 * SECTOR, "\1CD001", 6) == 0);
    dir = bytes + (size_t)le32(root + 2) * SECTOR;
    for (const unsigned char *p = dir; p < dir + le32(root + 10) && p[0] != 0; p += p[0]) {
        char name[64];
        rock_ridge_name(p, name);
        if (strcmp(name, wanted) != 0)
            continue;
        *ret_len = le32(p + 10);
        assert((size_t)le32(p + 2) * SECTOR + *ret_len <= iso->len);
        return mem_dup_n(iso->ptr + (size_t)le32(p + 2) * SECTOR, *ret_len);
    }
    return NULL;
}
