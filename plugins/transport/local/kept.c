#include "plugins/transport/local/kept.h"

#include <fcntl.h>
#include <string.h>

static void drop(int *fd)
{
    cleanup_close(fd);
    *fd = -1;
}

void kept_prepare(struct kept *k, const struct runner_step *step)
{
    bool is_rmdir = step->kind == RUNNER_REMOVE && (step->flags & RUNNER_S_EXCL);
    bool is_of_file = step->kind == RUNNER_PATCH || step->kind == RUNNER_GROW || step->kind == RUNNER_OWN;

    if (k->file >= 0 && (!is_of_file || strcmp(step->path, k->file_path) != 0))
        drop(&k->file); /* a program that is open for writing cannot be run */
    if (step->kind == RUNNER_RUN || step->kind == RUNNER_RENAME || (step->flags & RUNNER_S_TREE) || is_rmdir)
        drop(&k->dir);
}

void kept_done(struct kept *k)
{
    drop(&k->file);
    drop(&k->dir);
}

int kept_at(const struct kept *k, const char *path, const char **ret_name)
{
    *ret_name = path;
    if (k == NULL || k->dir < 0 || strncmp(path, k->dir_path, k->dir_len) != 0 || path[k->dir_len] != '/' ||
        path[k->dir_len + 1] == '\0' || strchr(path + k->dir_len + 1, '/') != NULL)
        return AT_FDCWD;
    *ret_name = path + k->dir_len + 1;
    return k->dir;
}

bool kept_take_dir(struct kept *k, int fd, const char *path, size_t len)
{
    if (k == NULL)
        return false;
    drop(&k->dir);
    k->dir = fd;
    k->dir_path = path;
    k->dir_len = len;
    return true;
}

void kept_take_file(struct kept *k, int fd, const char *path)
{
    if (k == NULL) {
        cleanup_close(&fd);
        return;
    }
    drop(&k->file);
    k->file = fd;
    k->file_path = path;
}

int kept_file(const struct kept *k, const char *path)
{
    return k != NULL && k->file >= 0 && strcmp(k->file_path, path) == 0 ? k->file : -1;
}
