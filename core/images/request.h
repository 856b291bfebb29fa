/* What requests and jobs ask for of images (contract 1.3, 1.4, 7.3), and what they are told. Pure. */
#ifndef CORE_IMAGES_REQUEST_H
#define CORE_IMAGES_REQUEST_H

#include "core/images/images.h"
#include "core/util/json.h"

struct pull_request {
    struct image_object from, also; /* also.ref NULL: it is kept nowhere else */
    char *tag;                      /* another name here, or NULL */
};
void pull_request_done(struct pull_request *request);
#define auto_pull_request CLEANUP(pull_request_done)

/* PullSnapshotRequestDTO. INVALID names the member. */
int pull_request_read(const struct json *body, struct pull_request *ret, struct runner_error *err);
/* As images_begin() and images_fetch() take it; valid as long as the request. */
void pull_request_wish(const struct pull_request *request, struct image_wish *ret);

/* "snapshot" and "registry" of an inspection. */
int image_object_read(const struct json *body, struct image_object *ret, struct runner_error *err);
/* Where a create may fetch its snapshot from: ref, by the "registry" of its body. */
int image_source_read(const struct json *body, const char *ref, struct image_object *ret, struct runner_error *err);

/* {"hash","sizeGB"} */
void image_add_info(const struct runner_object_info *info, struct str *out);
/* The members "phase", "doneBytes", "totalBytes", "seconds" of an object. */
void image_add_progress(const struct image_progress *progress, struct str *out);
/* SnapshotInfoResponse. */
void image_add_snapshot(const struct snapshot *snapshot, struct str *out);

#endif
