#include "core/iso.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/iso-frame.h"

#define LIBISOFS_WITHOUT_LIBBURN /* its header then declares struct burn_source */
#include <libisofs/libisofs.h>

enum { SECTOR = 2048, FIFO_SECTORS = 128 /* a seed without a daemon fits: its writer never waits */ };

/* The library's messages, serial numbers and character set are global and unlocked. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
    char never[] = "NEVER", no_prefix[] = "", charset[] = "UTF-8"; /* the library takes no const */

    library_status = iso_init_with_flag(1); /* leaves the program's locale alone */
    if (library_status < 0)
        return;
    (void)iso_set_msgs_severities(never, never, no_prefix); /* results say all; standard error is the log's */
    (void)iso_set_local_charset(charset, 0);
}

static void cleanup_image(IsoImage **image)
{
    if (*image != NULL)
        iso_image_unref(*image);
}

static void cleanup_opts(IsoWriteOpts **opts)
{
    if (*opts != NULL)
        iso_write_opts_free(*opts);
}

static void cleanup_source(struct burn_source **source)
{
    if (*source == NULL)
        return;
    (*source)->free_data(*source); /* stops and joins its writer thread */
    free(*source);
}

static int iso_fail(int status, const char *what, struct runner_error *err)
{
    return fail(err, status == (int)ISO_OUT_OF_MEM ? RUNNER_E_NOMEM : RUNNER_E_IO, 0, "%s: %s", what,
                iso_error_to_msg(status));
}

static int file_add(IsoImage *image, const struct iso_file *file, struct runner_error *err)
{
    unsigned char *copy = malloc(file->len > 0 ? file->len : 1); /* the stream frees it */
    IsoStream *stream = NULL;
    IsoFile *node;
    int status;

    if (copy == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "volume file '%s'", file->name);
    if (file->len > 0)
        memcpy(copy, file->data, file->len);
    status = iso_memory_stream_new(copy, file->len, &stream);
    if (status < 0) {
        free(copy);
        return iso_fail(status, file->name, err);
    }
    status = iso_tree_add_new_file(iso_image_get_root(image), file->name, stream, &node);
    if (status < 0) {
        iso_stream_unref(stream);
        return iso_fail(status, file->name, err);
    }
    return 0;
}

static int opts_make(IsoWriteOpts **ret, struct runner_error *err)
{
    int status = iso_write_opts_new(ret, 0);

    if (status < 0)
        return iso_fail(status, "volume options", err);
    if ((status = iso_write_opts_set_rockridge(*ret, 1)) < 0 || (status = iso_write_opts_set_joliet(*ret, 1)) < 0 ||
        (status = iso_write_opts_set_fifo_size(*ret, FIFO_SECTORS)) < 0 ||
        (status = iso_write_opts_set_output_charset(*ret, "UTF-8")) < 0 ||
        (status = iso_write_opts_set_relaxed_vol_atts(*ret, 1)) < 0 || /* a label in lower case */
        (status = iso_write_opts_set_always_gmt(*ret, 1)) < 0 ||
        (status = iso_write_opts_set_replace_mode(*ret, 2, 2, 2, 2)) < 0 ||
        (status = iso_write_opts_set_default_dir_mode(*ret, 0500)) < 0 ||
        (status = iso_write_opts_set_default_file_mode(*ret, 0400)) < 0 ||
        (status = iso_write_opts_set_default_uid(*ret, 0)) < 0 ||
        (status = iso_write_opts_set_default_gid(*ret, 0)) < 0)
        return iso_fail(status, "volume options", err);
    return 0;
}

static int source_read(struct burn_source *source, struct str *ret, struct runner_error *err)
{
    auto_str struct str iso = STR_INIT;
    off_t size = source->get_size(source);

    if (size > 0)
        str_reserve(&iso, (size_t)size + SECTOR);
    for (;;) {
        int got;
        str_reserve(&iso, SECTOR);
        got = source->read_xt(source, (unsigned char *)iso.ptr + iso.len, SECTOR);
        if (got < 0)
            return fail(err, RUNNER_E_IO, 0, "volume: libisofs stopped after %zu bytes", iso.len);
        if (got == 0)
            break;
        iso.len += (size_t)got;
    }
    if (iso.len == 0 || (off_t)iso.len != size)
        return fail(err, RUNNER_E_IO, 0, "volume: libisofs made %zu of %lld bytes", iso.len, (long long)size);
    iso.ptr[iso.len] = '\0';
    *ret = iso;
    iso = (struct str)STR_INIT;
    return 0;
}

static int build_locked(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso,
                        struct runner_error *err)
{
    CLEANUP(cleanup_image) IsoImage *image = NULL;
    CLEANUP(cleanup_opts) IsoWriteOpts *opts = NULL;
    CLEANUP(cleanup_source) struct burn_source *source = NULL;
    int status = iso_image_new(label, &image);

    if (status < 0)
        return iso_fail(status, "volume", err);
    for (size_t i = 0; i < n; i++)
        if (file_add(image, &files[i], err) < 0)
            return -1;
    if (opts_make(&opts, err) < 0)
        return -1;
    status = iso_image_create_burn_source(image, opts, &source);
    if (status < 0)
        return iso_fail(status, "volume", err);
    return source_read(source, ret_iso, err);
}

static int build(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso,
                 struct runner_error *err)
{
    int status;

    (void)pthread_once(&library_once, library_init);
    if (library_status < 0)
        return fail(err, RUNNER_E_IO, 0, "libisofs does not start (%d)", library_status);
    pthread_mutex_lock(&library_lock);
    status = build_locked(label, files, n, ret_iso, err);
    pthread_mutex_unlock(&library_lock);
    return status;
}

int iso_build(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso, struct runner_error *err)
{
    struct iso_file marked[FRAME_FILES_MAX];
    auto_str struct str marks = STR_INIT, iso = STR_INIT;

    if (!frame_fits(files, n))
        return build(label, files, n, ret_iso, err);
    if (frame_take(label, files, n, ret_iso))
        return 0;
    frame_marks(files, n, marked, &marks);
    if (build(label, marked, n, &iso, err) < 0)
        return -1;
    if (!frame_keep(label, files, n, &iso))
        return build(label, files, n, ret_iso, err);
    *ret_iso = iso;
    iso = (struct str)STR_INIT;
    return 0;
}
