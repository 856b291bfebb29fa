#include "guest/daemon/module.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "core/util/str.h"

static int load(const char *path, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    int compressed = 4; /* MODULE_INIT_COMPRESSED_FILE, Linux 5.17 */
    size_t len = strlen(path);
    bool is_plain = len > 3 && strcmp(path + len - 3, ".ko") == 0;

    if (fd < 0)
        return fail_errno(err, errno, "open module '%s'", path);
    if (syscall(SYS_finit_module, fd, "", is_plain ? 0 : compressed) < 0 && errno != EEXIST)
        return fail_errno(err, errno, "load module '%s'", path);
    return 0;
}

void module_load_list(const char *path)
{
    auto_fclose FILE *file = fopen(path, "re");
    auto_free char *line = NULL;
    size_t size = 0;

    while (file != NULL && getline(&line, &size, file) > 0) {
        struct runner_error err = ERROR_INIT;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#' && load(line, &err) < 0)
            (void)fprintf(stderr, "runner-guestd: %s\n", err.message);
    }
}
