/* disk/qcow2 against a fake host; every image made here is judged by qemu-img. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/disk/qcow2/header.h"
#include "kit/fake/host.h"
#include "t/unit/program.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)
#define TIB (INT64_C(1) << 40)

const struct runner_plugin *runner_plugin_1(void);

static char dir[] = "/tmp/test-qcow2.XXXXXX";
static const struct runner_disk_ops *ops;

static void setup(void)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_not_null(mkdtemp(dir));
    fake_host_reset();
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    ops = runner_plugin_1()->ops;
}

static void in_dir(const char *name, char path[256])
{
    cr_assert_lt(snprintf(path, 256, "%s/%s", dir, name), 256);
}

static void teardown(void)
{
    static const char *const names[] = {"base.raw", "disk.qcow2", "out", "base.qcow2"};
    char path[256];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        in_dir(names[i], path);
        unlink(path);
    }
    rmdir(dir);
}

TestSuite(qcow2, .init = setup, .fini = teardown);

/* ---- qemu-img ---- */

/* Runs argv, its output in <dir>/out; the exit status, or 127. */
static int run(const char *const argv[])
{
    char out[256];

    in_dir("out", out);
    return program_run(argv, "/dev/null", out);
}

static void output(char text[8192])
{
    char path[256];
    auto_fclose FILE *file = NULL;

    in_dir("out", path);
    file = fopen(path, "r");
    cr_assert_not_null(file);
    text[fread(text, 1, 8191, file)] = '\0';
}

static void need_qemu_img(void)
{
    if (run((const char *const[]){"qemu-img", "--version", NULL}) != 0)
        cr_skip_test("qemu-img is not installed");
}

static void make_file(const char *path, const void *data, size_t len, int64_t size)
{
    auto_close int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    cr_assert_eq(ftruncate(fd, size), 0);
}

static void make_longer(const char *path, int64_t size)
{
    struct stat st;

    cr_assert_eq(stat(path, &st), 0);
    cr_assert_leq(st.st_size, size);
    cr_assert_eq(truncate(path, size), 0);
}

/* ---- planning ---- */

static struct runner_image base_image(const char *path, const char *format, int64_t size_bytes)
{
    return (struct runner_image){.size = sizeof(struct runner_image),
                                 .flags = RUNNER_I_READONLY,
                                 .path = path,
                                 .format = format,
                                 .size_bytes = size_bytes};
}

static int plan(struct runner_batch *batch, const struct runner_image *base, int64_t size_bytes,
                struct runner_image *ret, struct runner_error *err)
{
    struct runner_disk disk = {.size = sizeof disk, .id = "sb1", .dir = dir, .base = base, .size_bytes = size_bytes};

    return ops->clone(NULL, fake_call(), batch, &disk, ret, err);
}

static void release_image(struct runner_image *image)
{
    fake_host()->release((void *)image->path);
    fake_host()->release((void *)image->format);
    fake_host()->release((void *)image->backing_path);
    fake_host()->release((void *)image->backing_format);
}

static void write_at(const char *path, const struct runner_step *step, int64_t at)
{
    auto_close int fd = open(path, O_WRONLY);

    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, step->data, step->len, at), (ssize_t)step->len);
}

/* Carries out the WRITE, PATCH and GROW steps as a transport would. */
static void carry_out(const struct runner_batch *batch)
{
    size_t n = fake_batch_len(batch), written = 0;
    const struct runner_step *first = fake_batch_step(batch, 0), *grow = fake_batch_step(batch, n - 1);

    cr_assert_eq(n, 4);
    cr_assert_eq(first->kind, RUNNER_WRITE);
    cr_assert_eq(first->number, 0600);
    cr_assert(first->flags & RUNNER_S_EXCL);
    cr_assert_not_null(first->undo);
    cr_assert_eq(first->undo->kind, RUNNER_REMOVE);
    cr_assert_str_eq(first->undo->path, first->path);
    make_file(first->path, "", 0, 0);
    for (size_t i = 0; i < n - 1; i++) {
        const struct runner_step *step = fake_batch_step(batch, i);
        cr_assert(i == 0 || step->kind == RUNNER_PATCH);
        cr_assert_str_eq(step->path, first->path);
        write_at(step->path, step, i == 0 ? 0 : step->number);
        written += step->len;
    }
    cr_assert_lt(written, 4096);
    cr_assert_eq(grow->kind, RUNNER_GROW);
    cr_assert_str_eq(grow->path, first->path);
    make_longer(grow->path, grow->number);
}

static void judge(const char *path, const char *base, const char *format, int64_t size_bytes)
{
    auto_json struct json *info = NULL;
    struct runner_error err = ERROR_INIT;
    const struct json *data;
    char text[8192];
    int status;

    status = run((const char *const[]){"qemu-img", "check", "-f", "qcow2", path, NULL});
    output(text);
    cr_assert_eq(status, 0, "%s", text);
    cr_assert_not_null(strstr(text, "No errors were found"), "%s", text);
    status = run((const char *const[]){"qemu-img", "info", "-f", "qcow2", "--output=json", path, NULL});
    output(text);
    cr_assert_eq(status, 0, "%s", text);
    cr_assert_eq(json_parse(text, strlen(text), &info, &err), 0, "%s", err.message);
    cr_assert_eq(json_int(info, "virtual-size", -1), size_bytes);
    cr_assert_eq(json_int(info, "cluster-size", -1), 65536);
    cr_assert_str_eq(json_text(info, "backing-filename", ""), base);
    cr_assert_str_eq(json_text(info, "backing-filename-format", ""), format);
    cr_assert_not(json_bool(info, "dirty-flag", true));
    data = json_get(json_get(info, "format-specific"), "data");
    cr_assert_str_eq(json_text(data, "compat", ""), "1.1");
    cr_assert_not(json_bool(data, "lazy-refcounts", true));
    cr_assert_eq(json_int(data, "refcount-bits", 0), 16);
    cr_assert_not(json_bool(data, "corrupt", true));
}

Test(qcow2, d12_qemu_img_agrees_at_every_size)
{
    static const int64_t sizes[] = {512,     MIB,       MIB + 512, 512 * MIB - 512, 512 * MIB,     512 * MIB + 512,
                                    3 * GIB, 100 * GIB, 2 * TIB,   4 * TIB,         4 * TIB + 512, 16 * TIB - 512,
                                    16 * TIB};
    char base[256], path[256];

    need_qemu_img();
    in_dir("base.raw", base);
    in_dir("disk.qcow2", path);
    make_file(base, "", 0, 512);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct runner_image image = base_image(base, "raw", 512), made = {.size = sizeof made};
        struct runner_batch *batch = fake_host()->batch_new(fake_call());
        struct runner_error err = ERROR_INIT;
        cr_assert_eq(plan(batch, &image, sizes[i], &made, &err), 0, "%s", err.message);
        cr_assert_str_eq(made.path, path);
        cr_assert_str_eq(made.format, "qcow2");
        cr_assert_str_eq(made.backing_path, base);
        cr_assert_str_eq(made.backing_format, "raw");
        cr_assert_eq(made.size_bytes, sizes[i]);
        carry_out(batch);
        judge(path, base, "raw", sizes[i]);
        release_image(&made);
        fake_host()->batch_free(batch);
    }
    cr_assert_eq(fake_host_live(), 0);
}

/* Data of the base is seen through the overlay, data written to the overlay stays there, and it is still consistent. */
Test(qcow2, overlay_reads_base_and_takes_writes)
{
    struct runner_image image, made = {.size = sizeof made};
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    struct runner_error err = ERROR_INIT;
    char base[256], path[256], text[8192];

    need_qemu_img();
    if (run((const char *const[]){"qemu-io", "--version", NULL}) != 0)
        cr_skip_test("qemu-io is not installed");
    in_dir("base.qcow2", base);
    in_dir("disk.qcow2", path);
    cr_assert_eq(run((const char *const[]){"qemu-img", "create", "-f", "qcow2", base, "1G", NULL}), 0);
    cr_assert_eq(run((const char *const[]){"qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 100M 1M", base, NULL}), 0);
    image = base_image(base, "qcow2", GIB);
    cr_assert_eq(plan(batch, &image, 3 * GIB, &made, &err), 0, "%s", err.message);
    carry_out(batch);
    cr_assert_eq(run((const char *const[]){"qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 100M 1M", "-c",
                                           "write -P 0x17 2900M 70M", "-c", "read -P 0x17 2900M 70M", "-c",
                                           "read -P 0 2G 1M", path, NULL}),
                 0);
    output(text);
    cr_assert_null(strstr(text, "failed"), "%s", text);
    judge(path, base, "qcow2", 3 * GIB);
    release_image(&made);
    fake_host()->batch_free(batch);
}

Test(qcow2, refuses)
{
    static char long_path[1200];
    struct {
        const char *path, *format;
        int64_t base_bytes, size_bytes;
        const char *words[3]; /* in the message */
    } cases[] = {
        {"/b", "raw", 2 * GIB, GIB, {"2147483648", "1073741824", "larger"}},
        {"/b", "vmdk", GIB, GIB, {"vmdk", "/b", "raw"}},
        {"b", "raw", GIB, GIB, {"'b'", "absolute", ""}},
        {"/b", "raw", 512, GIB + 1, {"1073741825", "512", ""}},
        {"/b", "raw", 0, 0, {"multiple of 512", "", ""}},
        {"/b", "raw", -512, -512, {"-512", "multiple", ""}},
        {"/b", "raw", 512, 16 * TIB + 512, {"limit", "17592186044928", "17592186044416"}},
        {"/b", "raw", 512, INT64_MAX / 512 * 512, {"limit", "", ""}},
        {long_path, "raw", 512, GIB, {"1199", "1023", "/xxx"}},
    };

    memset(long_path, 'x', sizeof long_path - 1);
    long_path[0] = '/';
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_image image = base_image(cases[i].path, cases[i].format, cases[i].base_bytes), made = {0};
        struct runner_batch *batch = fake_host()->batch_new(fake_call());
        struct runner_error err = ERROR_INIT;
        cr_assert_eq(plan(batch, &image, cases[i].size_bytes, &made, &err), -1, "case %zu", i);
        cr_assert_eq(err.code, RUNNER_E_INVALID);
        for (size_t j = 0; j < 3; j++)
            cr_assert_not_null(strstr(err.message, cases[i].words[j]), "case %zu: %s", i, err.message);
        cr_assert_null(made.path);
        cr_assert_eq(fake_batch_len(batch), 0);
        fake_host()->batch_free(batch);
    }
    cr_assert_eq(fake_host_live(), 0);
}

/* Each allocation fails in turn: NOMEM, and nothing is kept. */
Test(qcow2, out_of_memory)
{
    struct runner_image image = base_image("/b", "raw", GIB), made = {.size = sizeof made};
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    int fails_after = 0;

    for (;; fails_after++) {
        struct runner_error err = ERROR_INIT;
        int status;
        fake_host_alloc_fails_after(fails_after);
        status = plan(batch, &image, GIB, &made, &err);
        fake_host_alloc_fails_after(-1);
        if (status == 0)
            break;
        cr_assert_eq(err.code, RUNNER_E_NOMEM);
        cr_assert_eq(fake_batch_len(batch), 0);
        cr_assert_eq(fake_host_live(), 1); /* the batch */
    }
    cr_assert_eq(fails_after, 4);
    release_image(&made);
    fake_host()->batch_free(batch);
    cr_assert_eq(fake_host_live(), 0);
}

Test(qcow2, remove_is_one_step)
{
    struct runner_disk disk = {.size = sizeof disk, .id = "sb1", .dir = "/s/sb1"};
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    struct runner_error err = ERROR_INIT;
    auto_free char *text = NULL;

    cr_assert_eq(ops->remove(NULL, fake_call(), batch, &disk, &err), 0);
    text = fake_batch_text(batch);
    cr_assert_not_null(strstr(text, "REMOVE /s/sb1/disk.qcow2"), "%s", text);
    cr_assert_eq(fake_batch_len(batch), 1);
    fake_host()->batch_free(batch);
}
