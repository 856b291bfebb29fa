/* The volume itself, read back by a reader of our own and by isoinfo where installed. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/iso.h"
#include "core/util/cleanup.h"
#include "t/unit/program.h"
#include "t/unit/scratch.h"
#include "t/unit/volume.h"

static const struct iso_file files[] = {
    {"meta-data", "{\"instance-id\":\"x\"}\n", 20}, {"a-rather-long.name", "", 0}, {"runner.json", "{}", 2}};

static void build(struct str *ret)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(iso_build("cidata", files, ARRAY_LEN(files), ret, &err), 0, "%s", err.message);
    cr_assert_eq(ret->len % SECTOR, 0);
}

Test(iso, volume_is_labelled)
{
    static const char joliet[] = "\0c\0i\0d\0a\0t\0a";
    auto_str struct str iso = STR_INIT;

    build(&iso);
    cr_assert_eq(memcmp(iso.ptr + 16 * SECTOR + 40, "cidata  ", 8), 0);
    cr_assert_eq(iso.ptr[17 * SECTOR], 2); /* supplementary descriptor: Joliet */
    cr_assert_eq(memcmp(iso.ptr + 17 * SECTOR + 40, joliet, 12), 0);
    cr_assert_leq(iso.len, 128u * 1024);
}

Test(iso, files_are_read_back)
{
    auto_str struct str iso = STR_INIT;
    size_t len = 99;

    build(&iso);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        auto_free char *data = volume_read(&iso, files[i].name, &len);
        cr_assert_not_null(data, "%s", files[i].name);
        cr_assert_eq(len, files[i].len);
        cr_assert_eq(memcmp(data, files[i].data, len), 0);
    }
    cr_assert_null(volume_read(&iso, "other", &len));
}

Test(iso, the_same_name_twice_is_an_error)
{
    const struct iso_file twice[] = {files[0], files[0]};
    auto_str struct str iso = STR_INIT;
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(iso_build("cidata", twice, 2, &iso, &err), -1);
    cr_assert_eq(err.code, RUNNER_E_IO);
    cr_assert_not_null(strstr(err.message, "meta-data: "), "%s", err.message);
    cr_assert_null(iso.ptr);
}

Test(iso, isoinfo_agrees)
{
    auto_str struct str iso = STR_INIT;
    struct scratch s;
    char text[8192];
    int status;

    build(&iso);
    scratch_make(&s, iso.ptr, iso.len);
    status = program_run((const char *const[]){"isoinfo", "-d", "-i", s.in, NULL}, "/dev/null", s.out);
    if (status == 127) {
        scratch_remove(&s);
        cr_skip_test("isoinfo is not installed");
    }
    scratch_read(&s, text, sizeof text);
    cr_assert_eq(status, 0, "%s", text);
    cr_assert_not_null(strstr(text, "Volume id: cidata\n"), "%s", text);
    cr_assert_not_null(strstr(text, "Rock Ridge signatures version 1 found"), "%s", text);
    cr_assert_not_null(strstr(text, "Joliet with UCS level 3 found"), "%s", text);
    cr_assert_eq(program_run((const char *const[]){"isoinfo", "-R", "-l", "-i", s.in, NULL}, "/dev/null", s.out), 0);
    scratch_read(&s, text, sizeof text);
    cr_assert_not_null(strstr(text, "-r--------"), "%s", text);
    cr_assert_eq(
        program_run((const char *const[]){"isoinfo", "-R", "-x", "/meta-data", "-i", s.in, NULL}, "/dev/null", s.out),
        0);
    scratch_read(&s, text, sizeof text);
    cr_assert_not_null(strstr(text, "\"instance-id\":\"x\""), "%s", text);
    scratch_remove(&s);
}

/* ---- volumes of the same shape, which are made of one frame ---- */

static void expect_content(const struct iso_file *wanted, size_t n)
{
    auto_str struct str iso = STR_INIT;
    struct runner_error err = ERROR_INIT;
    size_t len;

    cr_assert_eq(iso_build("cidata", wanted, n, &iso, &err), 0, "%s", err.message);
    cr_assert_eq(iso.len % SECTOR, 0);
    for (size_t i = 0; i < n; i++) {
        auto_free char *data = volume_read(&iso, wanted[i].name, &len);
        cr_assert_not_null(data, "%s", wanted[i].name);
        cr_assert_eq(len, wanted[i].len);
        cr_assert_eq(memcmp(data, wanted[i].data, len), 0, "%s: '%.40s'", wanted[i].name, data);
    }
}

Test(iso, the_same_shape_has_its_own_content)
{
    static char big[2][5000];

    memset(big[0], 'x', sizeof big[0]);
    memset(big[1], 'y', sizeof big[1]);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 2; i++) {
            const struct iso_file shape[] = {{"meta-data", i == 0 ? "the first content" : "another content 2", 17},
                                             {"empty", "", 0},
                                             {"user-data", big[i], sizeof big[i]}};
            expect_content(shape, ARRAY_LEN(shape));
        }
}

Test(iso, more_shapes_than_frames_are_kept)
{
    static const char text[] = "a text that all of them are the beginning of";

    for (int round = 0; round < 2; round++)
        for (size_t len = 0; len < sizeof text; len++)
            expect_content(&(struct iso_file){"runner.json", text, len}, 1);
}

Test(iso, what_is_too_large_for_a_frame)
{
    static char daemon[200000];

    for (size_t i = 0; i < sizeof daemon; i++)
        daemon[i] = (char)(i * 7);
    expect_content(
        (const struct iso_file[]){{"meta-data", "twenty bytes of text", 20}, {"daemon", daemon, sizeof daemon}}, 2);
}

/* ---- threads, leaks ---- */

static void *builder_run(void *arg)
{
    int *failures = arg;
    char text[64];

    for (int i = 0; i < 50; i++) {
        auto_str struct str iso = STR_INIT;
        auto_free char *found = NULL;
        struct runner_error err = ERROR_INIT;
        int text_len = snprintf(text, sizeof text, "%016lx-%d", (unsigned long)pthread_self(), i);
        const struct iso_file file = {"f", text, (size_t)text_len};
        size_t len;
        if (iso_build("cidata", &file, 1, &iso, &err) < 0 || (found = volume_read(&iso, "f", &len)) == NULL ||
            strcmp(found, text) != 0)
            (*failures)++;
    }
    return NULL;
}

static int count_entries(const char *path)
{
    auto_dir DIR *dir = opendir(path);
    int n = 0;

    cr_assert_not_null(dir);
    while (readdir(dir) != NULL)
        n++;
    return n;
}

Test(iso, threads_build_at_once_and_nothing_stays)
{
    int failures[4] = {0}, fds = count_entries("/proc/self/fd"), tasks;
    pthread_t threads[4];

    tasks = count_entries("/proc/self/task");
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, builder_run, &failures[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(failures[i], 0);
    cr_assert_eq(count_entries("/proc/self/fd"), fds);
    for (int i = 0; i < 1000 && count_entries("/proc/self/task") != tasks; i++)
        sched_yield(); /* a joined thread may still be listed for a moment */
    cr_assert_eq(count_entries("/proc/self/task"), tasks);
}
