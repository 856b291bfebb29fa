/* Wishes: lines of a word and its value. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "t/fake/fake.h"

static char wishes[4096];

bool fake_wishes_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, wishes, sizeof wishes - 1);
    close(fd);
    wishes[n > 0 ? n : 0] = '\0';
    for (char *p = wishes; *p != '\0'; p++)
        if (*p == '\n')
            *p = '\0';
    return true;
}

static const char *after_word(const char *line, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(line, word, len) != 0 || (line[len] != '\0' && line[len] != ' '))
        return NULL;
    return line[len] == ' ' ? line + len + 1 : line + len;
}

const char *fake_wish(const char *word)
{
    const char *rest;

    for (const char *line = wishes; *line != '\0'; line += strlen(line) + 1)
        if ((rest = after_word(line, word)) != NULL)
            return rest;
    return NULL;
}

int64_t fake_wish_ms(const char *word)
{
    const char *value = fake_wish(word);

    return value != NULL ? strtol(value, NULL, 10) : 0;
}

const char *fake_wish_for(const char *word, const char *first)
{
    const char *rest;

    for (const char *line = wishes; *line != '\0'; line += strlen(line) + 1)
        if ((rest = after_word(line, word)) != NULL && (rest = after_word(rest, first)) != NULL)
            return rest;
    return NULL;
}

int64_t fake_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
