#include "core/foreign.h"

#include <arpa/inet.h>
#include <string.h>
#include <time.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define MIB        (INT64_C(1) << 20)
#define GIB        (INT64_C(1) << 30)
#define MEMORY_MAX (INT64_C(1) << 44)
#define CPUS_MAX   254

void foreign_done(struct foreign *foreign)
{
    free(foreign->snapshot);
    free(foreign->kernel);
    free(foreign->initramfs);
    free(foreign->cmdline);
    free(foreign->firmware);
    free(foreign->disk_path);
    free(foreign->extra);
    *foreign = (struct foreign)FOREIGN_INIT;
}

static int wrong(struct runner_error *err, const char *member, const char *expected)
{
    return fail(err, RUNNER_E_INVALID, 0, "config.json: %s: expected %s", member, expected);
}

static int parse(const char *text, size_t len, struct json **ret, struct runner_error *err)
{
    if (len > FOREIGN_CONFIG_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "config.json: larger than %d bytes", FOREIGN_CONFIG_MAX);
    if (json_parse(text, len, ret, err) < 0)
        return error_wrap(err, "config.json");
    return (*ret)->type == JSON_OBJECT ? 0 : wrong(err, "top level", "an object");
}

int foreign_form(const char *text, size_t len, enum foreign_form *ret, struct runner_error *err)
{
    auto_json struct json *tree = NULL;
    const struct json *cpus;

    if (parse(text, len, &tree, err) < 0)
        return -1;
    cpus = json_get(tree, "cpus");
    if (cpus == NULL || (cpus->type != JSON_INT && cpus->type != JSON_OBJECT))
        return wrong(err, "cpus", "a number, or an object as a VMM has it");
    *ret = cpus->type == JSON_INT ? FOREIGN_RECORD : FOREIGN_CONFIG;
    return 0;
}

/* ---- the older record ---- */

static int read_cpus(const struct json *tree, struct foreign *foreign, struct runner_error *err)
{
    int64_t cpus = json_int(tree, "cpus", 0);

    if (cpus < 1 || cpus > CPUS_MAX)
        return wrong(err, "cpus", "1 to 254");
    foreign->cpus = (uint32_t)cpus;
    return 0;
}

/* "memory" has no unit in its name: few are GiB, as the API counts, very many bytes, what is between MiB. */
static int64_t memory_unit(const char *key, int64_t value)
{
    if (strcmp(key, "memory") != 0)
        return MIB;
    return value < 1024 ? GIB : value < MIB ? MIB : 1;
}

static int read_memory(const struct json *tree, struct foreign *foreign, struct runner_error *err)
{
    static const char *const keys[] = {"memoryMB", "memoryMb", "memoryMiB", "memory_mb", "memory"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct json *value = json_get(tree, keys[i]);

        if (value == NULL)
            continue;
        if (value->type != JSON_INT || value->number < 1 ||
            value->number > MEMORY_MAX / memory_unit(keys[i], value->number))
            return wrong(err, keys[i], "a size, at most 16 TiB");
        foreign->memory_bytes = value->number * memory_unit(keys[i], value->number);
        return 0;
    }
    return wrong(err, "memoryMB", "a size in MiB");
}

/* As RFC 3339 has it; a wrong one is as good as none. */
static int64_t read_time(const char *text)
{
    struct tm tm = {.tm_year = 0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int hours = 0, minutes = 0;
    char sign = '+';
    int64_t seconds;

    if (rest == NULL)
        return 0;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest != 'Z' && sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) != 3)
        return 0;
    seconds = (int64_t)timegm(&tm) - (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return seconds > 0 && seconds < INT64_C(253402300800) ? seconds * 1000 : 0; /* the year 10000 */
}

static int read_name(const struct json *tree, const char *id, struct runner_error *err)
{
    static const char *const keys[] = {"sandboxId", "id"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct json *value = json_get(tree, keys[i]);

        if (value != NULL && (value->type != JSON_STRING || strcmp(value->text, id) != 0))
            return wrong(err, keys[i], "the name of its directory");
    }
    return 0;
}

static int read_snapshot(const struct json *tree, struct foreign *foreign, struct runner_error *err)
{
    const struct json *value = json_get(tree, "snapshot");

    if (value == NULL || value->type == JSON_NULL || (value->type == JSON_STRING && value->text[0] == '\0'))
        return 0;
    if (value->type != JSON_STRING || !text_is_ref(value->text))
        return wrong(err, "snapshot", "a snapshot reference");
    foreign->snapshot = mem_dup(value->text);
    return 0;
}

static bool take_address(const char *text, size_t len, struct foreign *foreign)
{
    char copy[INET_ADDRSTRLEN];
    struct in_addr address;

    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_pton(AF_INET, copy, &address) != 1)
        return false;
    memcpy(foreign->address, copy, len + 1);
    return true;
}

/* The file `ip` is the better source, and read later. */
static int read_address(const struct json *tree, struct foreign *foreign, struct runner_error *err)
{
    static const char *const keys[] = {"ipAddress", "ip", "guestIP"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = json_text(tree, keys[i], "");

        if (text[0] == '\0')
            continue;
        return take_address(text, strlen(text), foreign) ? 0 : wrong(err, keys[i], "an IPv4 address");
    }
    return 0;
}

int foreign_read_record(const char *text, size_t len, const char *id, struct foreign *foreign, struct runner_error *err)
{
    auto_json struct json *tree = NULL;

    if (parse(text, len, &tree, err) < 0)
        return -1;
    foreign->created_ms = read_time(json_text(tree, "createdAt", ""));
    if (read_name(tree, id, err) < 0 || read_cpus(tree, foreign, err) < 0 || read_memory(tree, foreign, err) < 0 ||
        read_snapshot(tree, foreign, err) < 0)
        return -1;
    return read_address(tree, foreign, err);
}

/* ---- the other sources ---- */

int foreign_read_ip(const char *text, size_t len, struct foreign *foreign, struct runner_error *err)
{
    size_t n = 0;
    int64_t prefix;
    auto_free char *rest = NULL;

    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    while (n < len && text[n] != '/')
        n++;
    rest = mem_dup_n(text + n, len - n);
    if ((rest[0] != '\0' && !num_int(rest + 1, 1, 32, &prefix)) || !take_address(text, n, foreign))
        return fail(err, RUNNER_E_INVALID, 0, "ip: expected an IPv4 address");
    return 0;
}

static bool is_mac(const char *text)
{
    return strlen(text) == 17 && strspn(text, "0123456789abcdefABCDEF:") == 17 && text[2] == ':' && text[5] == ':' &&
           text[8] == ':' && text[11] == ':' && text[14] == ':';
}

static void take(char **to, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return;
    free(*to);
    *to = mem_dup(text);
}

int foreign_take_machine(struct foreign *foreign, const struct runner_machine *machine, struct runner_error *err)
{
    if (machine->mac[0] != '\0' && !is_mac(machine->mac))
        return wrong(err, "the first network interface's mac", "a MAC address");
    if (machine->cpus > CPUS_MAX || machine->memory_bytes > MEMORY_MAX)
        return wrong(err, "cpus, memory", "254 and 16 TiB at most");
    if (machine->cpus != 0)
        foreign->cpus = machine->cpus;
    if (machine->memory_bytes != 0)
        foreign->memory_bytes = machine->memory_bytes;
    if (machine->kernel != NULL || machine->firmware != NULL) { /* one boot is not mixed from two */
        free(foreign->kernel);
        free(foreign->initramfs);
        free(foreign->cmdline);
        free(foreign->firmware);
        foreign->kernel = foreign->initramfs = foreign->cmdline = foreign->firmware = NULL;
    }
    take(&foreign->kernel, machine->kernel);
    take(&foreign->initramfs, machine->initramfs);
    take(&foreign->cmdline, machine->cmdline);
    take(&foreign->firmware, machine->firmware);
    take(&foreign->disk_path, machine->disk_path);
    take(&foreign->extra, machine->extra);
    if (machine->tap[0] != '\0')
        memcpy(foreign->tap, machine->tap, sizeof foreign->tap);
    if (machine->mac[0] != '\0')
        memcpy(foreign->mac, machine->mac, sizeof foreign->mac);
    return 0;
}

void foreign_release(struct runner_machine *machine)
{
    const char *const texts[] = {machine->kernel,   machine->initramfs, machine->cmdline,
                                 machine->firmware, machine->disk_path, machine->extra};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free((char *)(uintptr_t)texts[i]); /* as the host table's release() */
    *machine = (struct runner_machine){.size = sizeof *machine};
}

/* ---- paths ---- */

/* Absolute, without "", "." and ".." as components. */
static bool is_plain(const char *path)
{
    if (path[0] != '/')
        return false;
    while (*path == '/') {
        size_t len = strcspn(path + 1, "/");

        if (len == 0 || (len == 1 && path[1] == '.') || (len == 2 && path[1] == '.' && path[2] == '.'))
            return false;
        path += 1 + len;
    }
    return true;
}

static bool is_below(const char *path, const char *dir)
{
    const char *rest;

    return text_starts(path, dir, &rest) && *rest == '/';
}

int foreign_check_path(const char *root, const char *id, const char *member, const char *path, bool is_own,
                       struct runner_error *err)
{
    auto_free char *all = mem_printf("%s/sandboxes", root), *own = mem_printf("%s/%s", all, id);

    if (strlen(path) >= 4096 || !is_plain(path))
        return fail(err, RUNNER_E_INVALID, 0, "%s: '%.200s' is no plain absolute path", member, path);
    if (is_below(path, own))
        return 0;
    if (is_own)
        return fail(err, RUNNER_E_INVALID, 0, "%s: '%.200s' is not in '%s'", member, path, own);
    if (is_below(path, all))
        return fail(err, RUNNER_E_INVALID, 0, "%s: '%.200s' is another sandbox's", member, path);
    return is_below(path, root) ? 0 : fail(err, RUNNER_E_INVALID, 0, "%s: '%.200s' is not in '%s'", member, path, root);
}

char *foreign_snapshot_of(const char *root, const char *image_path)
{
    auto_free char *all = mem_printf("%s/snapshots/", root), *ref = NULL;
    const char *rest, *end;

    if (image_path == NULL || !text_starts(image_path, all, &rest))
        return NULL;
    end = strrchr(rest, '/');
    ref = mem_dup_n(rest, end != NULL ? (size_t)(end - rest) : strlen(rest));
    if (end == NULL && strlen(ref) > strlen(".qcow2") && strcmp(ref + strlen(ref) - strlen(".qcow2"), ".qcow2") == 0)
        ref[strlen(ref) - strlen(".qcow2")] = '\0'; /* a file of that name, beside the directories */
    return text_is_ref(ref) ? mem_dup(ref) : NULL;
}
