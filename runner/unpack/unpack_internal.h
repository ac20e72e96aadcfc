/* unpack_internal.h: between the files of fnd-unpack. Everything here but env_set, dotenv, words, passwd and function_ini runs only inside the jail. */
#pragma once

#include "spec.h"
#include "unpack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct strbuf;
struct diag;

#define UNPACK_TEXT_MAX (256U * 1024) /* function.ini, env_file, passwd: larger ones are refused */

/* ---- jail.c ---- */

/* What it is going to do decides what is left to it (a column of jail.c's table). */
enum jail_job { JAIL_EXTRACT = 1, JAIL_SURVEY = 2, JAIL_EXPORT = 4 };

/*
 * Goes into the staging directory for good (jail.c has the steps). *ret_root_fd is the image's root, which is also the process's root directory: no path, absolute, with "..", or through symlinks, leads
 * out of it. UNPACK_FD_STAGING stays valid for what is moved out of the image.
 */
struct survey_flush;
struct digest_thread;
/* What is started on the way, before there are no calls for it. */
struct jail_help {
    struct survey_flush *flush;   /* of JAIL_SURVEY; NULL: none */
    struct digest_thread *digest; /* made here, for the life of the process; NULL after JAIL_EXPORT */
};
int jail_enter(enum jail_job job, struct jail_help *help, int *ret_root_fd, struct diag *d);

/* Lowers the limits to what the request says. */
int jail_limit(const struct unpack_limits *l, struct diag *d);

/* Has the process used up its seconds of CPU? */
int jail_check_cpu(const struct unpack_limits *l, struct diag *d);

/* ---- digest.c: SHA-256 over length-prefixed fields ---- */

struct digest;
int digest_new(struct digest **ret, struct diag *d);              /* before the jail: libcrypto reads files when it starts */
void digest_by_thread(struct digest *g, struct digest_thread *t); /* its work is done there (NULL: here); before the first data */
void digest_free(struct digest *g);
void digest_number(struct digest *g, uint64_t n);
void digest_text(struct digest *g, const char *s);
void digest_data(struct digest *g, const void *data, size_t len); /* not prefixed: a file's content, after its size */
int digest_finish(struct digest *g, char ret_hex[65], struct diag *d);

/* ---- archive_stream.c: decompression and tar, and the archive's end ---- */

struct archive;
struct archive_entry;
struct stream;
struct stream_start {
    int fd;
    struct stream *from; /* instead of fd: the data of the entry at which that stream is; NULL */
    bool may_be_zip;
    bool may_lack_end;       /* a tar without padding and end mark, as some tools make layers: a digest must say that it is whole */
    uint64_t max_out;        /* decompressed */
    struct digest *in, *out; /* of the bytes as they come, and of the tar; NULL: not wanted; complete when stream_next() has said 0 */
};
int stream_open(const struct stream_start *start, struct stream **ret, struct diag *d);
bool stream_has_sizes(const struct stream *s);   /* false: an entry's data may be longer than its size says */
uint64_t stream_spooled(const struct stream *s); /* bytes that it has on disk itself */
void stream_close(struct stream *s);
/* 1: *ret is the next entry, valid until the next call; 0: the archive has ended properly, with nothing behind it. */
int stream_next(struct stream *s, struct archive_entry **ret, struct diag *d);
/* The next piece of the entry's data; 1, or 0 at its end. */
int stream_data(struct stream *s, const void **ret, size_t *ret_len, uint64_t *ret_offset, struct diag *d);

/* ---- entry_path.c ---- */

/*
 * An entry's name as a path relative to the root: without leading slashes, "." and empty components; "" is the root itself. -EINVAL for "..", an empty name, a component that is too long; -ENAMETOOLONG.
 * out has room for PATH_MAX bytes.
 */
int entry_path(const char *name, unsigned max_depth, char *out, struct diag *d);

/*
 * Opens (O_PATH) the directory that holds the last component of a normalised path, making missing ones (0755, owner 0) and counting them in *made (NULL: missing is an error); symlinks on the way are followed inside the root.
 * *ret_name points into path.
 */
int entry_parent(int root_fd, const char *path, const char **ret_name, uint64_t *made, struct diag *d);
/* The same below a directory that is not the process's root: a symlink on the way is an error. */
int entry_parent_plain(int dir_fd, const char *path, const char **ret_name, uint64_t *made, struct diag *d);

/* ---- extract.c ---- */

struct image;
/* Unpacks everything into the process's root, and layers of an image as image_entry() has it; fills bytes and entries of *res. */
int extract_all(int archive_fd, struct image *image, struct unpack_result *res, struct diag *d);

struct image_layer;
/* The same with a layer (image.h), over what is there; bytes and entries of *res go on. */
int extract_layer(struct image_layer *layer, int root_fd, const struct unpack_limits *l, struct unpack_result *res, struct diag *d);

/* ---- survey_flush.c ---- */

#define SURVEY_FLUSH_EACH 32 /* files and directories: more are flushed by syncfs(2) */

struct survey_flush {
    int root_fd, go_fd, done_fd;
    bool all;
    unsigned count;
    int fds[SURVEY_FLUSH_EACH];
};
/* Makes the process that flushes: before the filter, which has no fork. Both end with the process. */
int survey_flush_start(struct survey_flush *f, int root_fd, struct diag *d);
/* A file or directory of the tree; fd stays the caller's. */
int survey_flush_file(struct survey_flush *f, int fd, struct diag *d);
/* All of it is on disk. */
int survey_flush_finish(struct survey_flush *f, struct diag *d);

/* ---- survey.c ---- */

/* Looks at all that is below root_fd, refuses what unpacking never makes, flushes it to disk; fills bytes, entries and sha256 of *res. */
int survey_all(int root_fd, const struct unpack_limits *l, struct survey_flush *flush, struct digest *g, struct unpack_result *res, struct diag *d);

/* ---- env_set.c: an environment being put together ---- */

struct env_set {
    char **items; /* "KEY=VALUE", in the order in which the keys first came */
    unsigned count, room;
};
void env_set_done(struct env_set *e);
bool env_set_has(const struct env_set *e, const char *key);
/* A value that is there is replaced. The value must not hold NUL. -EINVAL for a bad key, -E2BIG. */
int env_set_put(struct env_set *e, const char *key, const char *value, struct diag *d);
int env_set_merge(struct env_set *e, const struct env_set *from, struct diag *d);

/* ---- dotenv.c ---- */

/*
 * KEY=VALUE lines, "export " before them allowed; # comments; 'single' quotes: literal; "double" quotes: \n \t \r \\ \" \$ \`; quoted values may have several lines. Without quotes the value is the rest of the
 * line, to " #". Nothing is expanded. Errors begin with WHAT:LINE. A key that comes twice is refused.
 */
int dotenv_parse(const char *what, const char *text, size_t len, struct env_set *e, struct diag *d);

/* ---- command_words.c ---- */

/* Splits as a shell would, with quotes and backslashes, without expansion: appends NUL-terminated words. */
int command_words(const char *text, struct strbuf *out, uint32_t *ret_count, struct diag *d);

/* ---- entry_point.c ---- */

struct function_ini;
/* Where neither command nor handler is said: appends the only executable file at the root as one word; or says what the files that are there would need. */
int entry_point_find(int root_fd, const struct function_ini *f, const struct env_set *env, struct strbuf *words, struct diag *d);

/* ---- passwd.c ---- */

/* `user` is a number or a name of the image's passwd (text may be NULL: there is none). */
int passwd_resolve(const char *user, const char *text, size_t len, uint32_t *ret_uid, uint32_t *ret_gid, struct diag *d);
/* The same of a group, and the image's etc/group. */
int passwd_resolve_group(const char *group, const char *text, size_t len, uint32_t *ret_gid, struct diag *d);

/* ---- function_ini.c ---- */

struct function_ini {
    char user[64];                                  /* empty: the default */
    unsigned user_line, command_line, handler_line; /* where they stand, for errors that other keys or the image show; 0: nowhere */
    char command[256];
    char env_file[SPEC_PATH_MAX];
    bool health_said; /* [health] path */
    bool says_port;
    bool of_label;      /* it is an image's */
    bool is_there;      /* the package has one */
    bool by_fprocess;   /* the command is what the variable says */
    struct env_set env; /* [env] */
    const char *sets;   /* --set SECTION.KEY=VALUE, sets_len bytes, each NUL-terminated, checked to be so; borrowed */
    size_t sets_len;
    struct spec spec; /* the fixed head, the strings come later; last, since it ends in an array */
};
void function_ini_init(struct function_ini *f);
void function_ini_done(struct function_ini *f);
/* -EINVAL, or -ENOTSUP for a key whose feature comes with a later version. */
int function_ini_parse(const char *text, size_t len, struct function_ini *f, struct diag *d);

/* One key; line 0: it comes from --set. */
int function_ini_put(struct function_ini *f, const char *section, const char *key, const char *value, unsigned line, struct diag *d);

/* ---- function_sets.c: --set, laid over function.ini ---- */

#define FUNCTION_SET_MAX 1024 /* of one, with its end */

/* Does --set say that key? What function.ini says of it then does not count. */
bool function_sets_has(const struct function_ini *f, const char *section, const char *key);
int function_sets_apply(struct function_ini *f, struct diag *d);
/* Of an image's label: SECTION.KEY=VALUE lines, where --set does not say it. */
int function_sets_label(struct function_ini *f, const char *lines, struct diag *d);

/* Before a message about a value of [function]: where that stands. Returns -d->err. */
int function_sets_place(struct diag *d, unsigned line, const char *what);

/* ---- volume_keys.c ---- */

/* One line of [volumes]; what the places must be is spec_check()'s. */
int volume_keys_put(struct spec *s, const char *name, const char *value, struct diag *d);

/* ---- secret_keys.c ---- */

int secret_keys_names(struct function_ini *f, const char *value, struct diag *d);

/* ---- network_keys.c: values of [network] into f->spec ---- */

int network_keys_egress(struct function_ini *f, const char *value, struct diag *d);
int network_keys_services(struct function_ini *f, const char *value, struct diag *d);

/* ---- http_keys.c: values of [http], and of `access`, into f->spec.http ---- */

int http_keys_access(struct function_ini *f, const char *value, struct diag *d);
int http_keys_hosts(struct function_ini *f, const char *value, struct diag *d);
int http_keys_paths(struct function_ini *f, const char *value, struct diag *d);
int http_keys_cors(struct function_ini *f, const char *value, struct diag *d);
int http_keys_cors_methods(struct function_ini *f, const char *value, struct diag *d);
int http_keys_cors_headers(struct function_ini *f, const char *value, struct diag *d);
int http_keys_rate(struct function_ini *f, const char *value, struct diag *d);
int http_keys_rate_client(struct function_ini *f, const char *value, struct diag *d);

/* ---- stdio_keys.c: mode = stdio ---- */

int stdio_keys_mode(struct function_ini *f, const char *value, struct diag *d);

/* Once all variables are known: do they fit (watchdog.h)? What fprocess says becomes the command; two ways to start are refused. */
int stdio_keys_finish(struct function_ini *f, const struct env_set *env, struct diag *d);

/* ---- sandbox_keys.c: values of [sandbox] into f->spec ---- */

int sandbox_keys_allow(struct function_ini *f, const char *value, struct diag *d);
int sandbox_keys_devices(struct function_ini *f, const char *value, struct diag *d);

/* ---- package_layer.c: a package that names a runtime ---- */

/* The unpacked tree becomes app/ of a new root that holds nothing else but the link code -> app, and what the tree had below rootfs/. root_fd is the tree's, and stays so. */
int package_layer(int root_fd, struct diag *d);

/* ---- program_check.c: is it a program for this machine, or a script? ---- */

/* path: of the image, relative to root_fd; `shown` is what messages call it. -EINVAL. */
int program_check(int root_fd, const char *path, const char *shown, struct diag *d);
/* What starts handlers in a runtime, and its shell, where they are there. */
int program_check_runtime(int root_fd, struct diag *d);

/* ---- unpack_package.c: from the unpacked tree to the spec ---- */

/* Of a runtime: completes the root; a function.ini in it says nothing. */
int package_finish_runtime(int root_fd, struct diag *d);

/* Takes function.ini, env/ and the env_file out of the image, completes the root. *ret_spec is the caller's (free). */
struct image;
int package_finish(int root_fd, const struct unpack_request *req, const struct image *image, struct unpack_result *res, struct spec **ret_spec, struct diag *d);

/* ---- unpack_note.c ---- */

/* One more line of notes; what does not fit is left out. */
void unpack_note(struct unpack_result *res, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
