/*
 * ringlog.h: the log of one instance: a file of fixed size that fn-init writes and others read.
 *
 * The file is RINGLOG_FILE_BYTES long from the start (the runner makes it; fn-init never changes its size and its seccomp filter refuses to). A head of 4096 bytes, then a ring of RINGLOG_DATA_BYTES. `written` counts all
 * bytes ever written; byte number k lies at k % RINGLOG_DATA_BYTES. The writer puts data first, then `written`; a reader that was overtaken while it read sees so by reading `written` again, and
 * drops what may have changed. A reader uses pread(2), never mmap, and believes nothing: a hostile fn-init can write what it likes here.
 * Text is what the function wrote to standard output and error, as it came, split into lines by the reader.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RINGLOG_MAGIC      0x676f6c66U /* "flog" */
#define RINGLOG_HEAD_BYTES 4096U
#define RINGLOG_DATA_BYTES (1024U * 1024 - RINGLOG_HEAD_BYTES)
#define RINGLOG_FILE_BYTES (1024U * 1024)
#define RINGLOG_REASON_MAX 128

enum ringlog_end { RINGLOG_RUNNING, RINGLOG_EXITED, RINGLOG_SIGNALED, RINGLOG_EXEC_FAILED };

struct ringlog_head {
    uint32_t magic, format; /* format 1 */
    uint64_t written;       /* bytes ever written to the ring */
    uint64_t started_real_ns, ended_real_ns;
    uint32_t end;                    /* enum ringlog_end */
    int32_t status;                  /* exit code, signal number, or errno of exec */
    char reason[RINGLOG_REASON_MAX]; /* for people: "exited with status 1", "cannot execute /app: No such file or directory" */
};

/* Makes dirfd/name with its full size, owner root, mode 0600; returns it open for reading and writing. */
int ringlog_create(int dirfd, const char *name);

/* Reads and checks the head. -EPROTO when it is not a ring log. reason is terminated and cleaned. */
int ringlog_read_head(int fd, struct ringlog_head *ret);

/*
 * Reads up to size bytes at position *pos (a count as `written` is), advances it, returns the bytes read (0: nothing new). A position that was overwritten moves to the oldest byte that is there; *ret_lost is
 * then the number of bytes skipped.
 */
int64_t ringlog_read(int fd, uint64_t *pos, void *buf, size_t size, uint64_t *ret_lost);

/* The position where the last n lines begin (within the ring); 0 lines: the end. */
int ringlog_seek_lines(int fd, unsigned n, uint64_t *ret_pos);

/*
 * Notes of the runner, a second small ring in the head's page, which fn-init does not write. ringlog_note() puts one at the ring's end as it is now. ringlog_notes() reads those with a number above `after`, in the
 * order of their numbers, and returns how many; texts are terminated and cleaned. They are no more to be believed than the rest: fn-init has the file.
 */
#define RINGLOG_NOTES    12U
#define RINGLOG_NOTE_MAX 232
struct ringlog_note {
    uint64_t number; /* from 1; 0: none */
    uint64_t pos;    /* behind so many bytes of the ring */
    uint64_t real_ns;
    char text[RINGLOG_NOTE_MAX];
};
int ringlog_note(int fd, const char *text);
int ringlog_notes(int fd, uint64_t after, struct ringlog_note ret[RINGLOG_NOTES]);

/* The writer's half, for fn-init: static, allocates nothing. */
struct ringlog_writer {
    int fd;
    struct ringlog_head head;
};
int ringlog_writer_init(struct ringlog_writer *w, int fd);
int ringlog_write(struct ringlog_writer *w, const void *data, size_t len);
int ringlog_finish(struct ringlog_writer *w, enum ringlog_end end, int status, const char *reason);
