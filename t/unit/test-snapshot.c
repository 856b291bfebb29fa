/* Manifests: what is taken, what is refused. The host is a table of files behind the batch functions. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/batch.h"
#include "core/call.h"
#include "core/snapshot.h"
#include "core/util/error.h"

#define GOOD                                                                                                           \
    "{\"schema\":1,\"name\":\"tiny\",\"disk\":{\"file\":\"disk.raw\",\"format\":\"raw\",\"sizeBytes\":1048576},"       \
    "\"kernel\":\"vmlinux\",\"initramfs\":\"initramfs.img\",\"cmdline\":\"console=ttyS0\",\"daemon\":true,"            \
    "\"init\":\"systemd\"}"

#define FIRMWARE                                                                                                       \
    "{\"schema\":1,\"disk\":{\"file\":\"disk.raw\",\"format\":\"raw\",\"sizeBytes\":1048576},"                          \
    "\"firmware\":\"CLOUDHV.fd\",\"ready\":\"serial\"}"

/* ---- the host: files by path; a directory is a path whose names are joined by NUL ---- */

static const struct {
    const char *path, *data;
    size_t len;
} files[] = {
    {"/r/snapshots/tiny/manifest.json", GOOD, sizeof GOOD - 1},
    {"/r/snapshots/fw/manifest.json", FIRMWARE, sizeof FIRMWARE - 1},
    {"/r/snapshots/fw2/manifest.json", FIRMWARE, sizeof FIRMWARE - 1},
    {"/r/snapshots/fw2/CLOUDHV.fd", "", 0},
    {"/r/snapshots/org/app:1/manifest.json", "{\"schema\":2}", 12},
    {"/r/snapshots", "a file\0org\0tiny\0", 16},
    {"/r/snapshots/tiny", "disk.raw\0manifest.json", 23},
    {"/r/snapshots/org", "app:1\0empty", 12},
    {"/r/snapshots/org/app:1", "manifest.json", 14},
    {"/r/snapshots/org/empty", "", 0},
};

struct runner_batch {
    struct runner_step step;
    struct runner_result result;
    char path[256];
};

static int n_runs;
static int cancelled;

struct runner_batch *batch_new(struct runner_call *call)
{
    (void)call;
    return mem_alloc(sizeof(struct runner_batch));
}

void batch_free(struct runner_batch *batch)
{
    free(batch);
}

int batch_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err)
{
    (void)err;
    batch->step = *step;
    cr_assert(step->kind == RUNNER_READ || step->kind == RUNNER_LIST || step->kind == RUNNER_STAT);
    cr_assert(step->kind == RUNNER_STAT || (step->flags & RUNNER_S_OPTIONAL));
    cr_assert(step->kind != RUNNER_READ || step->number == 65536);
    (void)snprintf(batch->path, sizeof batch->path, "%s", step->path);
    return 0;
}

int batch_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    (void)call, (void)err;
    n_runs++;
    batch->result.status = 1;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strcmp(files[i].path, batch->path) == 0)
            batch->result = (struct runner_result){.out = (char *)files[i].data, .len = files[i].len};
    return 0;
}

const struct runner_result *batch_result(const struct runner_batch *batch, int index)
{
    cr_assert_eq(index, 0);
    return &batch->result;
}

int call_cancelled(struct runner_call *call)
{
    (void)call;
    return cancelled;
}

/* ---- one ---- */

Test(snapshot, opens)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(snapshot_open(NULL, "/r", "tiny", &snapshot, &err), 0, "%s", err.message);
    cr_assert_str_eq(snapshot->ref, "tiny");
    cr_assert_str_eq(snapshot->kernel, "/r/snapshots/tiny/vmlinux");
    cr_assert_str_eq(snapshot->initramfs, "/r/snapshots/tiny/initramfs.img");
    cr_assert_str_eq(snapshot->cmdline, "console=ttyS0");
    cr_assert_str_eq(snapshot->image.path, "/r/snapshots/tiny/disk.raw");
    cr_assert_str_eq(snapshot->image.format, "raw");
    cr_assert_eq(snapshot->image.size_bytes, 1048576);
    cr_assert_eq(snapshot->image.flags, RUNNER_I_READONLY);
    cr_assert(snapshot->has_daemon);
    cr_assert_eq(n_runs, 1);
}

Test(snapshot, firmware_is_its_own_or_the_hosts)
{
    auto_snapshot struct snapshot *shared = NULL, *own = NULL;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(snapshot_open(NULL, "/r", "fw", &shared, &err), 0, "%s", err.message);
    cr_assert_str_eq(shared->firmware, "/r/firmware/CLOUDHV.fd");
    cr_assert_null(shared->kernel);
    cr_assert_null(shared->cmdline);
    cr_assert(shared->is_ready_by_log);
    cr_assert_eq(snapshot_open(NULL, "/r", "fw2", &own, &err), 0, "%s", err.message);
    cr_assert_str_eq(own->firmware, "/r/snapshots/fw2/CLOUDHV.fd");
}

static void expect_open_fails(const char *ref, int code, const char *message)
{
    struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(snapshot_open(NULL, "/r", ref, &snapshot, &err), -1);
    cr_assert_eq(err.code, code);
    cr_assert_str_eq(err.message, message);
    cr_assert_null(snapshot);
}

Test(snapshot, not_there)
{
    expect_open_fails("tinny", RUNNER_E_NOTFOUND, "no snapshot 'tinny' on this runner, which has: tiny org/app:1");
    expect_open_fails("org/app:1", RUNNER_E_INVALID, "snapshot 'org/app:1': manifest.json: schema: expected 1");
    n_runs = 0;
    expect_open_fails("../etc", RUNNER_E_INVALID, "snapshot '../etc' is not a reference");
    expect_open_fails("", RUNNER_E_INVALID, "snapshot '' is not a reference");
    cr_assert_eq(n_runs, 0);
}

/* The good manifest with one part replaced. */
static char *changed(const char *part, const char *by)
{
    const char *at = strstr(GOOD, part);

    cr_assert_not_null(at, "%s", part);
    return mem_printf("%.*s%s%s", (int)(at - GOOD), GOOD, by, at + strlen(part));
}

#define BOOT "{\"schema\":1,\"kernel\":\"vmlinux\",\"initramfs\":\"i\",\"cmdline\":\"quiet\"}"

static int parse(const char *text, struct snapshot **ret, struct runner_error *err);

Test(snapshot, what_was_pulled)
{
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(parse("{\"schema\":1,\"base\":\"0a-oci-1.0\",\"disk\":{\"file\":\"disk.raw\",\"format\":\"raw\","
                       "\"sizeBytes\":512},\"image\":{\"user\":\"app\"},\"digest\":\"0a\",\"contentBytes\":7}",
                       &snapshot, &err),
                 0, "%s", err.message);
    cr_expect_str_eq(snapshot->disk_path, "/r/bases/0a-oci-1.0/disk.raw");
    cr_expect_str_eq(json_text(snapshot->config, "user", ""), "app");
    cr_expect_null(snapshot->kernel);
    cr_expect(snapshot->has_daemon);
    cr_expect_eq(snapshot->content_bytes, 7);
    cr_assert_eq(snapshot_parse_boot(snapshot,
                                     BOOT,
                                     strlen(BOOT), "/r", &err),
                 0, "%s", err.message);
    cr_expect_str_eq(snapshot->kernel, "/r/boot/vmlinux");
}

/* Each byte is six where it is written as an escape. */
Test(snapshot, an_image_that_would_not_fit_into_a_record)
{
    static const struct {
        size_t n;
        int status;
    } cases[] = {{10000, 0}, {11000, -1}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str struct str text = STR_INIT;
        auto_snapshot struct snapshot *snapshot = NULL;
        struct runner_error err = ERROR_INIT;
        str_add(&text, "{\"schema\":1,\"base\":\"0a-oci-1.0\",\"disk\":{\"file\":\"d\",\"format\":\"raw\","
                       "\"sizeBytes\":512},\"image\":{\"user\":\"");
        for (size_t n = 0; n < cases[i].n; n++)
            str_add_char(&text, '\x7f');
        str_add(&text, "\"}}");
        cr_expect_eq(parse(str_text(&text), &snapshot, &err), cases[i].status, "%s", err.message);
        cr_expect(err.code == 0 || strstr(err.message, "64 KiB") != NULL, "%s", err.message);
    }
}

Test(snapshot, a_base_that_is_none)
{
    static const char *const bases[] = {"\"\"", "\"../x\"", "\".x\"", "\"a/b\"", "\"A\"", "7"};

    for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
        auto_free char *text = mem_printf("{\"schema\":1,\"base\":%s,\"disk\":{\"file\":\"d\",\"format\":\"raw\","
                                          "\"sizeBytes\":512}}",
                                          bases[i]);
        auto_snapshot struct snapshot *snapshot = NULL;
        struct runner_error err = ERROR_INIT;
        cr_expect_eq(parse(text, &snapshot, &err), -1, "%s", bases[i]);
        cr_expect_not_null(strstr(err.message, "base"), "%s", err.message);
    }
}

static int parse(const char *text, struct snapshot **ret, struct runner_error *err)
{
    return snapshot_parse(text, strlen(text), "/r", "tiny", ret, err);
}

Test(snapshot, optional_members)
{
    static const char *const cases[][2] = {{"\"initramfs\":\"initramfs.img\",", ""},
                                           {"\"initramfs.img\"", "null"},
                                           {",\"daemon\":true", ""},
                                           {"\"daemon\":true", "\"daemon\":null"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *text = changed(cases[i][0], cases[i][1]);
        auto_snapshot struct snapshot *snapshot = NULL;
        struct runner_error err = ERROR_INIT;
        cr_assert_eq(parse(text, &snapshot, &err), 0, "%s", err.message);
        cr_assert_eq(snapshot->initramfs == NULL, i < 2);
        cr_assert_eq(snapshot->has_daemon, i < 2);
    }
}

Test(snapshot, s01_d09_refuses)
{
    static const struct {
        const char *part, *by, *words;
    } cases[] = {
        {"\"schema\":1", "\"schema\":\"1\"", "manifest.json: schema: expected 1"},
        {"\"schema\":1,", "", "schema"},
        {"\"disk.raw\"", "\"../disk.raw\"", "disk.file: expected the name of a file"},
        {"\"disk.raw\"", "\"/etc/shadow\"", "disk.file"},
        {"\"disk.raw\"", "\"..\"", "disk.file"},
        {"\"disk.raw\"", "\"\"", "disk.file"},
        {"\"disk.raw\"", "\"a\\nb\"", "disk.file"},
        {"\"disk.raw\"", "7", "disk.file"},
        {"\"raw\"", "\"vmdk\"", "disk.format: expected raw or qcow2"},
        {"\"raw\"", "null", "disk.format"},
        {"1048576", "0", "disk.sizeBytes"},
        {"1048576", "-512", "disk.sizeBytes"},
        {"1048576", "1000", "disk.sizeBytes: expected a positive multiple of 512"},
        {"1048576", "1048576.5", "disk.sizeBytes"},
        {"1048576", "99999999999999999999", "manifest.json"},
        {"\"disk\":{", "\"disc\":{", "disk: expected an object"},
        {"{\"file\":\"disk.raw\",\"format\":\"raw\",\"sizeBytes\":1048576}", "[]", "disk: expected an object"},
        {"\"vmlinux\"", "\"a/b\"", "kernel"},
        {"\"vmlinux\"", "null", "kernel"},
        {"\"initramfs.img\"", "5", "initramfs"},
        {"\"initramfs.img\"", "\".\"", "initramfs"},
        {"\"console=ttyS0\"", "null", "cmdline"},
        {"\"console=ttyS0\"", "\"a\\u0001\"", "cmdline"},
        {"\"daemon\":true", "\"daemon\":\"yes\"", "daemon: expected true or false"},
        {"\"daemon\":true", "\"ready\":\"soon\"", "ready: expected daemon or serial"},
        {"\"daemon\":true", "\"ready\":7", "ready: expected daemon or serial"},
        {"\"daemon\":true", "\"firmware\":\"x\"", "firmware: expected no kernel beside it"},
        {"}}", "}", ""},
        {GOOD, "", "premature EOF"},
        {GOOD, "[1]", "schema"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct snapshot *snapshot = NULL;
        struct runner_error err = ERROR_INIT;
        auto_free char *text = NULL;
        if (strcmp(cases[i].part, "}}") == 0)
            text = mem_dup_n(GOOD, sizeof GOOD - 2);
        else
            text = changed(cases[i].part, cases[i].by);
        cr_assert_eq(parse(text, &snapshot, &err), -1, "case %zu", i);
        cr_assert_eq(err.code, RUNNER_E_INVALID, "case %zu", i);
        cr_assert_not_null(strstr(err.message, cases[i].words), "case %zu: %s", i, err.message);
        cr_assert_null(snapshot);
    }
}

Test(snapshot, command_line_is_bounded)
{
    char cmdline[2003];
    auto_free char *text = NULL, *fits = NULL;
    auto_snapshot struct snapshot *snapshot = NULL;
    struct runner_error err = ERROR_INIT;

    memset(cmdline, 'x', sizeof cmdline);
    cmdline[2001] = '\0';
    text = changed("console=ttyS0", cmdline);
    cr_assert_eq(parse(text, &snapshot, &err), -1);
    cmdline[2000] = '\0';
    fits = changed("console=ttyS0", cmdline);
    cr_assert_eq(parse(fits, &snapshot, &err), 0);
}

/* ---- all ---- */

Test(snapshot, lists)
{
    auto_str struct str refs = STR_INIT, none = STR_INIT;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(snapshot_list(NULL, "/r", &refs, &err), 0);
    cr_assert_str_eq(str_text(&refs), "tiny\norg/app:1\n");
    cr_assert_eq(snapshot_list(NULL, "/elsewhere", &none, &err), 0);
    cr_assert_str_eq(str_text(&none), "");
    cancelled = RUNNER_E_CANCELLED;
    cr_assert_eq(snapshot_list(NULL, "/r", &none, &err), -1);
    cr_assert_eq(err.code, RUNNER_E_CANCELLED);
}
