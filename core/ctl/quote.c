#include "core/ctl/quote.h"

#include <stdbool.h>
#include <string.h>

static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static bool is_in(char c, const char *more)
{
    return c != '\0' && (strchr(alnum, c) != NULL || strchr(more, c) != NULL);
}

/* '=' and '~' are special in some places only; a word with one is quoted, so that `A=b` is a command's name. */
static bool is_harmless(const char *word)
{
    if (word[0] == '\0')
        return false;
    for (; *word != '\0'; word++)
        if (!is_in(*word, "-._/:,+@"))
            return false;
    return true;
}

static void add_single_quoted(struct str *out, const char *word)
{
    str_add_char(out, '\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            str_add(out, "'\\''");
        else
            str_add_char(out, *word);
    }
    str_add_char(out, '\'');
}

/* Keywords mean something only unquoted and in the first place: `exec ID -- if` runs a program of that name. */
static bool is_keyword(const char *word)
{
    static const char *const keywords[] = {"case",  "do",   "done",     "elif",   "else",  "esac",
                                           "fi",    "for",  "if",       "in",     "then",  "until",
                                           "while", "time", "function", "select", "coproc"};

    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (strcmp(word, keywords[i]) == 0)
            return true;
    return false;
}

void quote_shell(struct str *out, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            str_add_char(out, ' ');
        if (is_harmless(words[i]) && !(i == 0 && is_keyword(words[i])))
            str_add(out, words[i]);
        else
            add_single_quoted(out, words[i]);
    }
}

void quote_url(struct str *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (is_in(*text, "-._~"))
            str_add_char(out, *text);
        else
            str_addf(out, "%%%02X", (unsigned char)*text);
    }
}
