/* json-get KEY: prints a member of the JSON on standard input, for shell tests. KEY: "a.b.0" goes into depth. Text is printed as
 * it is, other values as JSON; nothing, and exit status 1, when there is none or it is no JSON. */
#include <stdio.h>
#include <string.h>

#include "core/util/json.h"
#include "core/util/num.h"

static const struct json *child_at(const struct json *array, const char *text)
{
    int64_t i;

    if (array->type != JSON_ARRAY || !num_int(text, 0, JSON_NODES_MAX, &i))
        return NULL;
    for (const struct json *j = array->first; j != NULL; j = j->next)
        if (i-- == 0)
            return j;
    return NULL;
}

static const struct json *find(const struct json *j, const char *path)
{
    while (j != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        auto_free char *part = mem_dup_n(path, len);
        j = j->type == JSON_OBJECT ? json_get(j, part) : child_at(j, part);
        path += len + (path[len] == '.');
    }
    return j;
}

int main(int argc, char **argv)
{
    auto_str struct str text = STR_INIT, out = STR_INIT;
    auto_json struct json *tree = NULL;
    const struct json *found;
    char buffer[65536];
    size_t n;

    while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0)
        str_add_mem(&text, buffer, n);
    if (argc != 2 || json_parse(str_text(&text), text.len, &tree, NULL) < 0)
        return 1;
    found = find(tree, argv[1]);
    if (found == NULL)
        return 1;
    if (found->type == JSON_STRING)
        str_add(&out, found->text);
    else
        json_add_tree(&out, NULL, found);
    return puts(str_text(&out)) < 0;
}
