#include "t/unit/plugin-dir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"

static char folder[64];

const char *plugin_dir_make(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/runner-test.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    return folder;
}

static void write_file(const char *path, const void *data, size_t len, unsigned mode)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    cr_assert_eq(fchmod(fd, mode), 0);
}

char *plugin_dir_write(const char *name, const char *content, unsigned mode)
{
    char *path = mem_printf("%s/%s", folder, name);

    write_file(path, content, strlen(content), mode);
    return path;
}

void plugin_dir_add(const char *object, const char *kind, const char *name)
{
    const char *build = getenv("top_builddir") != NULL ? getenv("top_builddir") : ".";
    auto_free char *from = mem_printf("%s/t/plugin/%s", build, object);
    auto_free char *dir = mem_printf("%s/%s", folder, kind);
    auto_free char *to = mem_printf("%s/%s.so", dir, name);
    auto_close int fd = open(from, O_RDONLY | O_CLOEXEC);
    auto_free char *data = NULL;
    struct stat status;

    cr_assert_geq(fd, 0, "%s: %s", from, strerror(errno));
    cr_assert_eq(fstat(fd, &status), 0);
    data = mem_alloc((size_t)status.st_size);
    cr_assert_eq(read(fd, data, (size_t)status.st_size), status.st_size);
    cr_assert(mkdir(dir, 0755) == 0 || errno == EEXIST);
    write_file(to, data, (size_t)status.st_size, 0755);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

void plugin_dir_remove(void)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
