/* What the file of a guest says of the names that it may ask for. */
#ifndef DNS_ALLOW_H
#define DNS_ALLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALLOW_FILE_MAX 8192
#define ALLOW_NAMES    64
#define ALLOW_SET_MAX  256 /* of a table's or a set's name, with its NUL */

struct allow {
    bool is_listed;                                /* else every name */
    bool is_broken;                                /* the file cannot be read, or is none: no name */
    char table[ALLOW_SET_MAX], set[ALLOW_SET_MAX]; /* of the bridge family: where addresses go */
    size_t n;
    const char *names[ALLOW_NAMES]; /* in text */
    char text[ALLOW_FILE_MAX + 1];
};

/* Lines: "set TABLE SET", then a name each, in lower case, "*." for all below; without any, every name may be asked for.
 * Or the one line "none": no name. An empty line behind the names says nothing. The text is that of ret->text, len bytes, which is changed. */
void allow_parse(struct allow *ret, size_t len);
/* The file of that name in the directory dir; absent: every name may be asked for. */
void allow_read(int dir, const char *name, struct allow *ret);
/* name: as struct question has it. */
bool allow_has(const struct allow *allow, const char *name);
/* Whether both say the same. */
bool allow_equal(const struct allow *a, const struct allow *b);

#endif
