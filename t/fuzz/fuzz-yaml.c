/* YAML into a tree: whatever comes, there is a tree or a complaint, and the tree keeps its bounds. */
#include <string.h>

#include "core/yaml.h"
#include "t/fuzz/fuzz.h"

static size_t walk(const struct yaml *node, size_t depth)
{
    size_t n = 1;
    auto_free char *path = yaml_path(node, NULL);
    char found[80];

    need(depth <= YAML_DEPTH_MAX + 1 && node->at.line >= 1);
    need(node->text == NULL || strlen(node->text) <= YAML_TEXT_MAX);
    need((*path == '\0') == (node->parent == NULL) || (node->key != NULL && *node->key == '\0'));
    need(*yaml_found(node, found, sizeof found) != '\0');
    for (const struct yaml *child = node->first; child != NULL; child = child->next) {
        need(child->parent == node && (child->key != NULL) == (node->type == YAML_MAP));
        need(child->key == NULL || child->type == YAML_NULL || yaml_get(node, child->key) == child); /* each key once */
        n += walk(child, depth + 1);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct report report = REPORT_INIT;
    auto_yaml struct yaml *root = NULL;
    int result = yaml_parse("fuzz", (const char *)data, size, &root, &report);

    need(result == 0 || (report.count > 0 && root == NULL));
    need(root == NULL || walk(root, 1) <= YAML_NODES_MAX);
    str_done(&report.text);
    return 0;
}
