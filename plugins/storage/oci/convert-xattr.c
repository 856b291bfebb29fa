#include "plugins/storage/oci/convert-xattr.h"

#include <endian.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
#include <stdbool.h>
#include <string.h>

#include "core/util/str.h"

enum { /* EXT4_XATTR_INDEX_* of the kernel's fs/ext4/xattr.h */
       INDEX_USER = 1,
       INDEX_ACL_ACCESS = 2,
       INDEX_ACL_DEFAULT = 3,
       INDEX_TRUSTED = 4,
       INDEX_SECURITY = 6
};

/* Whole names, or what names begin with. */
static const struct {
    const char *prefix;
    uint8_t index;
} prefixes[] = {
    {"system.posix_acl_access", INDEX_ACL_ACCESS},
    {"system.posix_acl_default", INDEX_ACL_DEFAULT},
    {"user.", INDEX_USER},
    {"trusted.", INDEX_TRUSTED},
    {"security.", INDEX_SECURITY},
};

/* ACLs: programs see version 2 with an id in each entry, on the disk it is version 1 with an id where there is one
 * (include/uapi/linux/posix_acl_xattr.h, fs/ext4/acl.h). */
struct acl_entry {
    uint16_t tag, permissions;
    uint32_t id;
};
#define ACL_USER  0x02
#define ACL_GROUP 0x08

static int acl_convert(struct xattr *x, struct runner_error *err)
{
    struct acl_entry entry;
    uint32_t version;
    uint8_t *to;

    if (x->value_len < 4 || (x->value_len - 4) % sizeof(entry) != 0 ||
        (memcpy(&version, x->value, 4), le32toh(version)) != 2)
        return fail(err, RUNNER_E_INVALID, 0, "its ACL is none");
    to = x->made = mem_alloc(x->value_len);
    version = htole32(1);
    memcpy(to, &version, 4);
    to += 4;
    for (size_t at = 4; at < x->value_len; at += sizeof(entry)) {
        size_t len = 4;

        memcpy(&entry, x->value + at, sizeof(entry));
        if (le16toh(entry.tag) == ACL_USER || le16toh(entry.tag) == ACL_GROUP)
            len = sizeof(entry);
        memcpy(to, &entry, len);
        to += len;
    }
    x->value = x->made;
    x->value_len = to - x->made;
    return 0;
}

/* Whether a disk keeps what is called so. */
static bool split_name(struct xattr *x, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t len = strlen(prefixes[i].prefix);

        if (strncmp(name, prefixes[i].prefix, len) != 0)
            continue;
        x->index = prefixes[i].index;
        x->name = name + len;
        x->name_len = strlen(x->name);
        if (prefixes[i].prefix[len - 1] == '.' ? x->name_len > 0 : x->name_len == 0)
            return true;
    }
    return false;
}

static struct xattr *find(struct xattrs *list, const struct xattr *x)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].index == x->index && list->v[i].name_len == x->name_len &&
            memcmp(list->v[i].name, x->name, x->name_len) == 0)
            return &list->v[i];
    return NULL;
}

int xattrs_add(struct xattrs *list, const char *name, const void *value, size_t value_len, struct runner_error *err)
{
    struct xattr x = {.value = value, .value_len = value_len}, *old;

    if (value_len == 0 || strcmp(name, "security.selinux") == 0 || !split_name(&x, name))
        return 0;
    if (x.name_len > EXT2_NAME_LEN)
        return fail(err, RUNNER_E_INVALID, 0, "an extended attribute's name is too long");
    if ((x.index == INDEX_ACL_ACCESS || x.index == INDEX_ACL_DEFAULT) && acl_convert(&x, err) < 0)
        return -1;
    list->bytes += strlen(name) + value_len;
    old = find(list, &x);
    if (old != NULL) {
        free(old->made);
        *old = x;
        return 0;
    }
    if (list->n == XATTR_MAX) {
        free(x.made);
        return fail(err, RUNNER_E_INVALID, 0, "it has more than %d extended attributes", XATTR_MAX);
    }
    list->v[list->n++] = x;
    return 0;
}

/* The order in blocks, where the kernel stops searching early. */
static int compare(const void *a, const void *b)
{
    const struct xattr *x = a, *y = b;

    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    if (x->name_len != y->name_len)
        return x->name_len < y->name_len ? -1 : 1;
    return memcmp(x->name, y->name, x->name_len);
}

int xattrs_write(struct xattrs *list, uint8_t *area, size_t size, const uint8_t *base, int is_hashed)
{
    size_t at = 0, end = size;

    qsort(list->v, list->n, sizeof(*list->v), compare);
    for (size_t i = 0; i < list->n; i++) {
        const struct xattr *x = &list->v[i];
        size_t len = EXT2_EXT_ATTR_LEN(x->name_len), room = EXT2_EXT_ATTR_SIZE(x->value_len);
        struct ext2_ext_attr_entry *entry = (struct ext2_ext_attr_entry *)(area + at);

        if (at + len + room + 4 > end) /* 4: zeros end the list */
            return -1;
        end -= room;
        memcpy(area + end, x->value, x->value_len);
        entry->e_name_len = x->name_len;
        entry->e_name_index = x->index;
        entry->e_value_offs = x->value_len > 0 ? area + end - base : 0;
        entry->e_value_inum = 0;
        entry->e_value_size = x->value_len;
        memcpy(EXT2_EXT_ATTR_NAME(entry), x->name, x->name_len);
        entry->e_hash = is_hashed ? ext2fs_ext_attr_hash_entry(entry, area + end) : 0;
        at += len;
    }
    return 0;
}

void xattrs_done(struct xattrs *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->v[i].made);
    list->n = 0;
    list->bytes = 0;
}
