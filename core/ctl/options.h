/* Command line options by table: parsing and the --help text come from the same entries. */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

/* A list of words that belong to argv. */
struct words {
    const char **ptr;
    size_t n;
};

void words_add(struct words *w, const char *word);
void words_done(struct words *w);
static inline void cleanup_words(struct words *w)
{
    int saved_errno = errno;
    words_done(w);
    errno = saved_errno;
}
#define auto_words CLEANUP(cleanup_words)

enum option_kind {
    OPTION_FLAG,  /* to: bool */
    OPTION_TEXT,  /* to: const char * */
    OPTION_INT,   /* to: int64_t, within min..max */
    OPTION_BYTES, /* to: int64_t, bytes, at least 1 */
    OPTION_MSEC,  /* to: int64_t, milliseconds, at least 1 */
    OPTION_WORDS, /* to: struct words; the option may be repeated */
};

struct option_spec {
    char letter;      /* 0: none */
    const char *name; /* without the dashes */
    const char *arg;  /* how --help calls the value; NULL for a flag */
    const char *help;
    enum option_kind kind;
    void *to;
    int64_t min, max; /* INT */
};

struct options {
    const struct option_spec *own, *common; /* the command's own and those of every command */
    size_t n_own, n_common;
    bool has_rest; /* the operand behind rest_after others, and all words behind it, are `rest`: no options there */
    size_t rest_after;
};

/*
 * Reads argv[0..argc). Words behind `--` are operands, with has_rest they are the rest. Lists are appended to; the
 * words stay argv's. INVALID with a message for the user.
 */
int options_parse(const struct options *o, int argc, char **argv, struct words *operands, struct words *rest,
                  struct runner_error *err);

/* Appends one line an option, aligned. */
void options_add_help(const struct options *o, struct str *out);

#endif
