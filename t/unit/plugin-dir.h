/* A plugin directory in a private folder, filled with copies of the chameleon plugin. */
#ifndef TEST_PLUGIN_DIR_H
#define TEST_PLUGIN_DIR_H

/* Makes the folder; the path is valid until plugin_dir_remove(). */
const char *plugin_dir_make(void);
/* Copies the built object ("chameleon.so", "other-major.so") to <folder>/<kind>/<name>.so. */
void plugin_dir_add(const char *object, const char *kind, const char *name);
/* A file of the folder with this content; its path, which the caller frees. */
char *plugin_dir_write(const char *name, const char *content, unsigned mode);
void plugin_dir_remove(void);

#endif
