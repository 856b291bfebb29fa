/* Command lines in an image that has no shell. */
#ifndef GUEST_WORDS_H
#define GUEST_WORDS_H

#include <stdbool.h>

#include "core/util/error.h"

/* Whether process_shell() is there. */
bool words_are_needed(void);

/* Words as a shell would have them: blanks part them, quotes and backslashes do what they do there. argv[0] becomes the path of
 * the program, looked for in PATH. *ret: words_free(). INVALID: only a shell could do it; NOTFOUND: the program. */
int words_split(const char *line, char ***ret, struct runner_error *err);
void words_free(char ***argv);
#define auto_argv CLEANUP(words_free)

#endif
