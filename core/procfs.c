#include "core/procfs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/util/num.h"
#include "core/util/str.h"

/* Beyond any machine: what follows does not overflow. */
#define LOAD_MAX  1e9
#define USAGE_MAX (1ULL << 46) /* ticks, pages */

/* ---- words ------------------------------------------------------------------------------------------------------ */

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end != NULL ? end + 1 : line + strlen(line);
}

bool procfs_meminfo(const char *text, const char *key, int64_t *ret)
{
    size_t len = strlen(key);

    for (const char *line = text; *line != '\0'; line = next_line(line)) {
        auto_free char *number = NULL;
        const char *value = line + len + 1;

        if (strncmp(line, key, len) != 0 || line[len] != ':')
            continue;
        value += strspn(value, " \t");
        number = mem_dup_n(value, strspn(value, "0123456789"));
        return num_int(number, 0, INT64_MAX, ret);
    }
    return false;
}

bool procfs_has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, " \t\n");
        if (n == len && strncmp(p, word, len) == 0)
            return true;
        p += n;
        p += strspn(p, " \t\n");
    }
    return false;
}

int procfs_release(const char *text)
{
    int major, minor;

    if (sscanf(text, "%3d.%3d", &major, &minor) != 2 || major < 0 || minor < 0)
        return 0;
    return major * 1000 + minor;
}

int64_t procfs_cpus(const char *text)
{
    const char *p = text;
    int64_t n = 0;

    for (;;) {
        unsigned first, last;
        int len = 0;

        if (sscanf(p, "%5u%n", &first, &len) != 1)
            return 0;
        p += len;
        last = first;
        if (*p == '-') {
            if (sscanf(p, "-%5u%n", &last, &len) != 1 || last < first)
                return 0;
            p += len;
        }
        n += last - first + 1;
        if (*p != ',')
            break;
        p++;
    }
    return *p == '\n' || *p == '\0' ? n : 0;
}

bool procfs_load(const char *text, double *ret)
{
    double load;

    if (sscanf(text, "%*f %*f %lf", &load) != 1 || !(load >= 0 && load < LOAD_MAX))
        return false;
    *ret = load;
    return true;
}

/* user nice system idle iowait irq softirq steal; what comes behind is in user and nice already (proc(5)). */
bool procfs_cpu_ticks(const char *text, int64_t *ret_busy, int64_t *ret_total)
{
    unsigned long long t[8];
    int64_t busy = 0;

    if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6],
               &t[7]) != 8)
        return false;
    for (size_t i = 0; i < 8; i++) {
        if (t[i] > USAGE_MAX)
            return false;
        busy += i == 3 || i == 4 ? 0 : (int64_t)t[i];
    }
    *ret_busy = busy;
    *ret_total = busy + (int64_t)t[3] + (int64_t)t[4];
    return true;
}

/* Fields of proc(5) behind the name: 14 and 15 are ticks of user and system, 24 is resident pages. */
bool procfs_usage(const char *text, struct procfs_usage *ret)
{
    const char *rest = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long long user, system, pages;

    if (rest == NULL || sscanf(rest + 1,
                               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
                               "%*d %*u %*u %llu",
                               &user, &system, &pages) != 3)
        return false;
    if (user > USAGE_MAX || system > USAGE_MAX || pages > USAGE_MAX)
        return false;
    ret->cpu_ms = (int64_t)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
    ret->rss_bytes = (int64_t)pages * sysconf(_SC_PAGESIZE);
    return true;
}

/* ---- mounts ----------------------------------------------------------------------------------------------------- */

void procfs_mount_done(struct procfs_mount *mount)
{
    free(mount->point);
    free(mount->type);
    *mount = (struct procfs_mount){NULL, NULL, false};
}

static bool is_octal(const char *p)
{
    return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* A field: blanks, backslashes and newlines in it are written as \ooo. */
static char *unescape(const char *field, size_t len)
{
    char *text = mem_dup_n(field, len), *to = text;

    for (const char *p = text; *p != '\0'; p++)
        if (p[0] == '\\' && is_octal(p + 1)) {
            *to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 3;
        } else {
            *to++ = *p;
        }
    *to = '\0';
    return text;
}

static size_t field_length(const char *p)
{
    return strcspn(p, " \n");
}

/* "36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda1 rw": the fifth and sixth field, and the one behind "-". */
static bool mount_parse(const char *line, struct procfs_mount *ret)
{
    const char *p = line, *end = line + strcspn(line, "\n"), *dash;

    for (int i = 0; i < 4; i++) {
        p += field_length(p);
        if (*p != ' ')
            return false;
        p++;
    }
    dash = memmem(p, (size_t)(end - p), " - ", 3);
    if (dash == NULL || *p != '/' || p + field_length(p) >= dash)
        return false;
    ret->point = unescape(p, field_length(p));
    p += field_length(p) + 1;
    ret->is_readonly = strncmp(p, "ro", 2) == 0 && (p[2] == ',' || p[2] == ' ');
    ret->type = unescape(dash + 3, field_length(dash + 3));
    return true;
}

static bool is_below(const char *path, const char *point)
{
    size_t len = strlen(point);

    return strcmp(point, "/") == 0 || (strncmp(path, point, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

/* Of two at the same place the later one hides the earlier. */
bool procfs_mount_of(const char *mountinfo, const char *path, struct procfs_mount *ret)
{
    struct procfs_mount best = {NULL, NULL, false};

    for (const char *line = mountinfo; *line != '\0'; line = next_line(line)) {
        struct procfs_mount mount;

        if (!mount_parse(line, &mount))
            continue;
        if (is_below(path, mount.point) && (best.point == NULL || strlen(mount.point) >= strlen(best.point))) {
            procfs_mount_done(&best);
            best = mount;
        } else {
            procfs_mount_done(&mount);
        }
    }
    if (best.point == NULL)
        return false;
    *ret = best;
    return true;
}

bool procfs_mount_by_type(const char *mountinfo, const char *type, struct procfs_mount *ret)
{
    for (const char *line = mountinfo; *line != '\0'; line = next_line(line)) {
        struct procfs_mount mount;

        if (!mount_parse(line, &mount))
            continue;
        if (strcmp(mount.type, type) == 0) {
            *ret = mount;
            return true;
        }
        procfs_mount_done(&mount);
    }
    return false;
}
