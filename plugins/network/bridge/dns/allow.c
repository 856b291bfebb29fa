#include "plugins/network/bridge/dns/allow.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/util/cleanup.h"

/* A word: printable, no blank. */
static bool is_word(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

static bool read_set(struct allow *allow, char *line)
{
    char *table, *set;

    if (strcmp(strsep(&line, " "), "set") != 0 || (table = strsep(&line, " ")) == NULL || (set = line) == NULL ||
        !is_word(table) || !is_word(set) || strlen(table) >= ALLOW_SET_MAX || strlen(set) >= ALLOW_SET_MAX)
        return false;
    memcpy(allow->table, table, strlen(table) + 1);
    memcpy(allow->set, set, strlen(set) + 1);
    return true;
}

void allow_parse(struct allow *ret, size_t len)
{
    char *rest = ret->text, *line;

    ret->text[len] = '\0';
    ret->n = 0;
    ret->table[0] = ret->set[0] = '\0';
    ret->is_listed = false;
    ret->is_broken = len > 0 && (strlen(rest) != len || ret->text[len - 1] != '\n');
    while (!ret->is_broken && (line = strsep(&rest, "\n")) != NULL && rest != NULL) {
        if (ret->set[0] == '\0' && strcmp(line, "none") == 0 && *rest == '\0') {
            ret->is_listed = true;
        } else if (ret->set[0] == '\0') {
            ret->is_broken = !read_set(ret, line);
        } else if (*line == '\0' && *rest == '\0' && ret->n > 0) {
            break; /* the runner's mark */
        } else if (!is_word(line) || ret->n == ALLOW_NAMES) {
            ret->is_broken = true;
        } else {
            ret->names[ret->n++] = line;
            ret->is_listed = true;
        }
    }
}

/* -1: it cannot be read, or is too large. */
static ssize_t read_file(int dir, const char *name, char *out, size_t size)
{
    auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    size_t len = 0;
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    while ((n = read(fd, out + len, size - len)) > 0)
        len += (size_t)n;
    return n < 0 || len == size ? -1 : (ssize_t)len;
}

void allow_read(int dir, const char *name, struct allow *ret)
{
    ssize_t len = read_file(dir, name, ret->text, sizeof ret->text);

    allow_parse(ret, len > 0 ? (size_t)len : 0);
    if (len < 0)
        ret->is_broken = true;
}

bool allow_has(const struct allow *allow, const char *name)
{
    size_t len = strlen(name);

    if (allow->is_broken)
        return false;
    if (!allow->is_listed)
        return true;
    if (strchr(name, '\\') != NULL) /* a dot within a label would look like one between two */
        return false;
    for (size_t i = 0; i < allow->n; i++) {
        const char *listed = allow->names[i];

        if (strcmp(listed, name) == 0)
            return true;
        if (strncmp(listed, "*.", 2) == 0 && len > strlen(listed) - 1 &&
            strcmp(name + len - (strlen(listed) - 1), listed + 1) == 0)
            return true;
    }
    return false;
}

bool allow_equal(const struct allow *a, const struct allow *b)
{
    bool is_equal = a->is_listed == b->is_listed && a->is_broken == b->is_broken && a->n == b->n &&
                    strcmp(a->table, b->table) == 0 && strcmp(a->set, b->set) == 0;

    for (size_t i = 0; is_equal && i < a->n; i++)
        is_equal = strcmp(a->names[i], b->names[i]) == 0;
    return is_equal;
}
