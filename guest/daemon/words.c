#include "guest/daemon/words.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/util/str.h"
#include "guest/daemon/process.h"

bool words_are_needed(void)
{
    return access(process_shell(), X_OK) < 0;
}

void words_free(char ***argv)
{
    for (char **p = *argv; p != NULL && *p != NULL; p++)
        free(*p);
    free(*argv);
}

static int fail_shell(struct runner_error *err, const char *at)
{
    return fail(err, RUNNER_E_INVALID, 0, "there is no shell here, which '%.20s' would need; plain words can be run",
                at);
}

/* What a backslash takes the meaning of within double quotes. */
static bool is_escaped(const char *p)
{
    return *p == '\\' && p[1] != '\0' && strchr("\\\"$`\n", p[1]) != NULL;
}

/* From the quote on; the character behind the other one. */
static const char *take_quoted(const char *p, struct str *word, struct runner_error *err)
{
    const char quote = *p, *begin = p;

    for (p++; *p != quote; p++) {
        if (*p == '\0' || (quote == '"' && strchr("$`", *p) != NULL)) {
            (void)fail_shell(err, *p == '\0' ? begin : p);
            return NULL;
        }
        if (quote == '"' && is_escaped(p))
            p++;
        str_add_char(word, *p);
    }
    return p + 1;
}

static const char *take_word(const char *p, struct str *word, struct runner_error *err)
{
    while (p != NULL && *p != '\0' && strchr(" \t", *p) == NULL) {
        if (*p == '\'' || *p == '"') {
            p = take_quoted(p, word, err);
        } else if (strchr("|&;<>()$`*?[#~\n", *p) != NULL || (*p == '\\' && (p[1] == '\0' || p[1] == '\n'))) {
            (void)fail_shell(err, p);
            return NULL;
        } else {
            p += *p == '\\';
            str_add_char(word, *p++);
        }
    }
    return p;
}

/* In place of its name. */
static int find_program(char **name, struct runner_error *err)
{
    const char *path = getenv("PATH");

    if (strchr(*name, '/') != NULL)
        return 0;
    for (const char *p = path != NULL && **name != '\0' ? path : ""; *p != '\0';) {
        size_t len = strcspn(p, ":");
        auto_free char *file = mem_printf("%.*s%s%s", (int)len, p, len > 0 ? "/" : "./", *name);

        if (access(file, X_OK) == 0) {
            free(*name);
            *name = file;
            file = NULL;
            return 0;
        }
        p += len + (p[len] == ':');
    }
    return fail(err, RUNNER_E_NOTFOUND, 0, "no program '%.100s' in PATH", *name);
}

int words_split(const char *line, char ***ret, struct runner_error *err)
{
    auto_argv char **argv = NULL;
    size_t n = 0;

    for (const char *p = line + strspn(line, " \t"); *p != '\0'; p += strspn(p, " \t")) {
        auto_str struct str word = STR_INIT;

        p = take_word(p, &word, err);
        if (p == NULL)
            return -1;
        argv = mem_grow(argv, n + 2, sizeof *argv);
        argv[n++] = mem_dup(str_text(&word));
        argv[n] = NULL;
    }
    if (n == 0)
        return fail(err, RUNNER_E_INVALID, 0, "no program is named");
    if (find_program(&argv[0], err) < 0)
        return -1;
    *ret = argv;
    argv = NULL;
    return 0;
}
