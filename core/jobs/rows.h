/* What the API's list of this runner's sandboxes says, of which no more is kept than is looked at: it may be long, and is
 * read as it comes. One thread. */
#ifndef JOBS_ROWS_H
#define JOBS_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/util/error.h"

#define ROWS_MAX 1000000

struct row {
    char id[64];
    char state[24];   /* the API's word */
    bool is_unwanted; /* its user has deleted it: desiredState destroyed */
};

struct rows;

struct rows *rows_new(void);
void rows_free(struct rows *rows); /* takes NULL */
/* A part of the text. What is wrong with it is told at the end. */
void rows_feed(struct rows *rows, const char *text, size_t len);
/* -1: that was not a whole list of sandboxes, and INVALID says why. */
int rows_end(struct rows *rows, struct runner_error *err);
/* After the end; NULL: it is not in the list. */
const struct row *rows_find(const struct rows *rows, const char *id);

#endif
