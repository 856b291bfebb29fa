/*
 * Runs a fuzz target without libFuzzer: over each file named, or in each folder named, and over damaged copies of it
 * (each prefix, each byte flipped, zeroed and doubled for small files), so that `make check` looks at more than the
 * corpus says. One TAP line a file; a fault ends the program by a sanitizer or a signal. Files called found-* are what
 * libFuzzer made of the others: they are run as they are, one TAP line for all of a folder.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/str.h"
#include "t/fuzz/fuzz.h"

#define INPUT_MAX  65536
#define DAMAGE_MAX 2048 /* larger files are run as they are */

static int n_tests, n_failed;

/* A copy of exactly that size on the heap, so that a read behind it is seen. */
static void run(const char *data, size_t len)
{
    auto_free char *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, data, len);
    (void)LLVMFuzzerTestOneInput((const uint8_t *)copy, len);
}

static void run_damaged(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char old = data[i];
        run(data, i);
        data[i] = (char)(old ^ 0x80);
        run(data, len);
        data[i] = '\0';
        run(data, len);
        data[i] = data[len - 1 - i];
        run(data, len);
        data[i] = old;
    }
}

/* Whether it could be read. */
static bool run_file(const char *path, bool is_damaged)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    auto_free char *data = mem_alloc(INPUT_MAX);
    ssize_t len = fd >= 0 ? read(fd, data, INPUT_MAX) : -1;

    if (len < 0)
        return false;
    run(data, (size_t)len);
    if (is_damaged && len <= DAMAGE_MAX)
        run_damaged(data, (size_t)len);
    return true;
}

static void ok(bool is_ok, const char *path, const char *what)
{
    n_failed += !is_ok;
    printf("%sok %d - %s%s\n", is_ok ? "" : "not ", ++n_tests, path, what);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_folder(const char *path)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_visible, alphasort), n_found = 0;
    bool is_ok = true;

    for (int i = 0; i < n; i++) {
        auto_free char *file = mem_printf("%s/%s", path, entries[i]->d_name);

        if (strncmp(entries[i]->d_name, "found-", 6) == 0) {
            is_ok = run_file(file, false) && is_ok;
            n_found++;
        } else {
            ok(run_file(file, true), file, "");
        }
        free(entries[i]);
    }
    free(entries);
    if (n_found > 0)
        ok(is_ok, path, "/found-*");
}

static void run_path(const char *path)
{
    struct stat status;

    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        run_folder(path);
    else
        ok(run_file(path, true), path, "");
}

/* The corpus of fuzz-yaml is corpus/yaml of the source tree. */
static void run_own_corpus(const char *program)
{
    const char *source = getenv("top_srcdir"), *name = strrchr(program, '-');
    auto_free char *path =
        mem_printf("%s/t/fuzz/corpus/%s", source != NULL ? source : ".", name != NULL ? name + 1 : "");

    run_path(path);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    if (argc == 1)
        run_own_corpus(argv[0]);
    printf("1..%d\n", n_tests);
    return n_failed > 0 || n_tests == 0;
}
