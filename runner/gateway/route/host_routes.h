/*
 * host_routes.h: hosts and paths that functions claim (spec_http.h), looked up by a request's Host and path. One per worker, used by its thread only.: a snapshot of thousands of functions costs one building of the table.
 */
#pragma once

#include "../gateway.h"

enum host_answer {
    HOST_UNKNOWN, /* nobody claims it: the gateway's own paths are next */
    HOST_FUNCTION,
    HOST_NO_PATH,   /* the host is claimed, this path of it is not */
    HOST_NO_METHOD, /* the path is, for other methods: *ret_methods */
    HOST_NO_MEMORY
};

void host_routes_stale(struct host_routes *t);
void host_routes_done(struct host_routes *t);

/* host: as in the field, with its port; path: without the query; method: a bit of spec_method, 0 for others. *ret_path_len: how much of the path was claimed (0: all). */
enum host_answer host_routes_find(struct host_routes *t, const struct picture *p, const char *host, size_t host_len, const char *path, size_t path_len,
                                  uint32_t method, struct gw_function **ret, size_t *ret_path_len, uint32_t *ret_methods);
