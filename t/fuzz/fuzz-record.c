/*
 * What lies on a host's disk: runner.json of a sandbox and manifest.json of a snapshot. A record that is taken is
 * written so that it reads the same, and whatever its request holds, its seed is made or refused. A manifest that is
 * taken names files of its own directory, and the overlay made for its disk says what it says.
 */
#include <string.h>

#include "core/snapshot.h"
#include "core/util/text.h"
#include "plugins/disk/qcow2/header.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/seed.h"

/* The id that a record says, so that it is not refused for that. */
static char *id_of(const char *text, size_t len)
{
    auto_json struct json *tree = NULL;
    const char *id;

    if (json_parse(text, len, &tree, NULL) < 0)
        return mem_dup("x");
    id = json_text(tree, "id", "x");
    return mem_dup(text_is_id(id) ? id : "x");
}

static void read_record(const char *text, size_t len)
{
    auto_free char *id = id_of(text, len);
    auto_record struct record *record = NULL, *again = NULL;
    auto_str struct str first = STR_INIT, second = STR_INIT;
    struct runner_error err = ERROR_INIT;

    if (record_parse(text, len, id, &record, &err) < 0) {
        need_reason(&err);
        return;
    }
    record_print(record, &first);
    need(record_parse(first.ptr, first.len, id, &again, &err) == 0);
    record_print(again, &second);
    need(strcmp(first.ptr, second.ptr) == 0);
    seed_check(record);
}

static uint64_t big_endian(const char *at, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

/* Offsets are those of docs/interop/qcow2.txt. */
static void make_overlay(int64_t size_bytes, const char *backing, const char *format)
{
    const struct qcow2_image image = {size_bytes, backing, format};
    auto_qcow2_file struct qcow2_file file = QCOW2_FILE_INIT;
    struct runner_error err = ERROR_INIT;
    const struct str *head = &file.parts[0].data;
    uint64_t name_at, name_len;

    if (qcow2_header(&image, &file, &err) < 0) {
        need_reason(&err);
        return;
    }
    need(head->len >= 104 && memcmp(head->ptr, "QFI\xfb", 4) == 0);
    need(big_endian(head->ptr + 24, 8) == (uint64_t)size_bytes);
    name_at = big_endian(head->ptr + 8, 8);
    name_len = big_endian(head->ptr + 16, 4);
    need(name_len == strlen(backing) && name_at <= head->len && name_len <= head->len - name_at);
    need(memcmp(head->ptr + name_at, backing, name_len) == 0);
    for (size_t i = 0; i < QCOW2_PARTS; i++)
        need(file.parts[i].at + (int64_t)file.parts[i].data.len <=
             (i + 1 < QCOW2_PARTS ? file.parts[i + 1].at : file.size_bytes));
}

static void need_own_file(const char *path)
{
    need(path == NULL || ((text_starts(path, "/s/snapshots/tiny/", &path) || text_starts(path, "/s/bases/", &path)) &&
                          path[0] != '\0' && strstr(path, "/..") == NULL));
}

static void read_manifest(const char *text, size_t len)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;

    if (snapshot_parse(text, len, "/s", "tiny", &snapshot, &err) < 0) {
        need_reason(&err);
        return;
    }
    need(snapshot->disk_path != NULL);
    need(snapshot->kernel == NULL || snapshot->firmware == NULL);
    need(snapshot->kernel != NULL || snapshot->firmware != NULL || snapshot->base != NULL);
    need_own_file(snapshot->disk_path);
    need_own_file(snapshot->kernel);
    need_own_file(snapshot->initramfs);
    need_own_file(snapshot->firmware);
    make_overlay(snapshot->image.size_bytes, snapshot->disk_path, snapshot->disk_format);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_record((const char *)data, size);
    read_manifest((const char *)data, size);
    return 0;
}
