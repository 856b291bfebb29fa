/* YAML into a tree: whatever comes, there is a tree or a complaint, and the tree keeps its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct yaml *node, size_t depth)
{
    size_t n = 1;
    auto_free char *path = yaml_path(node, NULL);
    char found[80];

    if (depth > YAML_DEPTH_MAX + 1 || node->at.line < 1 || (node->text != NULL && strlen(node->text) > YAML_TEXT_MAX))
        abort();
    if ((*path == '\0') != (node->parent == NULL) && (node->key == NULL || *node->key != '\0'))
        abort();
    if (*yaml_found(node, found, sizeof found) == '\0')
        abort();
    for (const struct yaml *child = node->first; child != NULL; child = child->next) {
        if (child->parent != node || (child->key != NULL) != (node->type == YAML_MAP))
            abort();
        if (child->key != NULL && child->type != YAML_NULL && yaml_get(node, child->key) != child) /* a key twice */
            abort();
        n += walk(child, depth + 1);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct report report = REPORT_INIT;
    auto_yaml struct yaml *root = NULL;
    int result = yaml_parse("fuzz", (const char *)data, size, &root, &report);

    if (result < 0 && (report.count == 0 || root != NULL))
        abort();
    if (root != NULL && walk(root, 1) > YAML_NODES_MAX)
        abort();
    str_done(&report.text);
    return 0;
}
