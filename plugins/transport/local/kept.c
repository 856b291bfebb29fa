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

/* ---- what can be in a new directory ------------------------------------------------------------------------------ */

static bool is_within(const char *path, const char *dir) /* or dir itself */
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Two that differ are not of one file, but by links. */
static bool is_plain(const char *path)
{
    return strstr(path, "//") == NULL && strstr(path, "/.") == NULL && path[strlen(path) - 1] != '/';
}

static void note(struct kept *k, const char *path)
{
    if (path == NULL || path[0] != '/' || k->new_dir == NULL)
        return;
    if (!is_plain(path) || is_within(k->new_dir, path) || k->n_made == ARRAY_LEN(k->made))
        k->new_dir = NULL;
    else if (is_within(path, k->new_dir))
        k->made[k->n_made++] = path;
}

static void note_spawn(struct kept *k, const struct runner_spawn *spawn)
{
    note(k, spawn->pid_path);
    note(k, spawn->output_path);
    for (uint32_t i = 0; i < spawn->n_fds; i++)
        note(k, spawn->fds[i].path);
    if (spawn->uid == 0) /* it may write there */
        k->new_dir = NULL;
}

void kept_note(struct kept *k, const struct runner_step *step)
{
    if (k == NULL || k->new_dir == NULL || (step->kind == RUNNER_MKDIR && step->path == k->new_dir))
        return;
    if (step->kind == RUNNER_RUN)
        k->new_dir = NULL;
    else if (step->kind == RUNNER_SPAWN)
        note_spawn(k, step->spawn);
    else if (step->kind != RUNNER_REMOVE || is_within(k->new_dir, step->path))
        note(k, step->path);
    note(k, step->to);
}

void kept_take_new(struct kept *k, const char *path)
{
    if (k == NULL || !is_plain(path))
        return;
    k->new_dir = path;
    k->n_made = 0;
}

bool kept_lacks(const struct kept *k, const char *path)
{
    if (k == NULL || k->new_dir == NULL || !is_within(path, k->new_dir) || strcmp(path, k->new_dir) == 0 ||
        !is_plain(path))
        return false;
    for (size_t i = 0; i < k->n_made; i++)
        if (is_within(path, k->made[i]) || is_within(k->made[i], path))
            return false;
    return true;
}
