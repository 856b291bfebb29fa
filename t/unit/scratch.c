#include "t/unit/scratch.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/util/cleanup.h"

void scratch_make(struct scratch *s, const void *data, size_t len)
{
    auto_close int fd = -1;

    memcpy(s->dir, "/tmp/test-seed.XXXXXX", 22);
    cr_assert_not_null(mkdtemp(s->dir));
    (void)snprintf(s->in, sizeof s->in, "%s/in", s->dir);
    (void)snprintf(s->out, sizeof s->out, "%s/out", s->dir);
    fd = open(s->in, O_WRONLY | O_CREAT | O_EXCL, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
}

void scratch_read(const struct scratch *s, char *text, size_t size)
{
    auto_fclose FILE *file = fopen(s->out, "r");

    cr_assert_not_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
}

void scratch_remove(const struct scratch *s)
{
    unlink(s->in);
    unlink(s->out);
    rmdir(s->dir);
}
