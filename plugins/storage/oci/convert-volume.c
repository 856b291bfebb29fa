#include "plugins/storage/oci/convert-finish.h"

#include <string.h>
#include <sys/stat.h>

#include "core/util/text.h"

#define SHOWN_MAX 160 /* bytes of a path in an error */

/* As who runs containers makes them: root's, 0755. The same image is the same disk, so they have the newest entry's time. */
static int on_make(void *ctx, uint32_t dir, const char *name, size_t len, uint32_t *ret, struct runner_error *err)
{
    struct image *im = ctx;
    const struct inode_meta meta = {.mode = S_IFDIR | 0755, .mtime_s = im->newest_s};

    return image_make_dir(im, dir, name, len, &meta, ret, err);
}

static int make(struct image *im, const char *path, struct runner_error *err)
{
    struct place at;
    uint32_t ignored;

    if (tree_resolve(&im->tree, path, true, on_make, im, &at, err) < 0)
        return -1;
    return at.node != 0 ? 0 : on_make(im, at.dir, at.name, at.name_len, &ignored, err);
}

int volumes_make(struct image *im, char *const *paths, size_t n, struct runner_error *err)
{
    for (size_t i = 0; i < n; i++) {
        auto_str struct str shown = STR_INIT;
        size_t len = strlen(paths[i]);

        if (make(im, paths[i], err) == 0)
            continue;
        text_add_escaped(&shown, paths[i], len < SHOWN_MAX ? len : SHOWN_MAX);
        return error_wrap(err, "volume '%s'%s", str_text(&shown), len > SHOWN_MAX ? "..." : "");
    }
    return 0;
}
