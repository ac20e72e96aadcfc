/*
 * fd.h: ownership of descriptors and memory, whole-file reads and writes, publishing, passing descriptors.
 *
 * Owned things are declared with cleanup_*: initialised where they are declared, handed over only by take_fd() or take_ptr().
 * Every descriptor here is born O_CLOEXEC.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

struct diag;

/* Closes a descriptor that is not negative; errno is kept. Returns -1, so that `fd = fd_close(fd)` forgets it. */
int fd_close(int fd);

static inline void fd_cleanup(int *fd)
{
    fd_close(*fd);
}

static inline void ptr_cleanup(void *p)
{
    free(*(void **)p);
}

#define cleanup_fd   __attribute__((cleanup(fd_cleanup)))
#define cleanup_free __attribute__((cleanup(ptr_cleanup)))

static inline int take_fd(int *fd)
{
    int r = *fd;

    *fd = -1;
    return r;
}

#define take_ptr(p)                                                                                                                                            \
    ({                                                                                                                                                         \
        __typeof__(p) taken_ = (p);                                                                                                                            \
        (p) = NULL;                                                                                                                                            \
        taken_;                                                                                                                                                \
    })

/* Reads a whole small file into buf and terminates it. Returns its length, -EFBIG if it does not fit into size-1 bytes. dirfd may be AT_FDCWD. */
ssize_t fd_read_file(int dirfd, const char *path, char *buf, size_t size);

/* Reads all of an open file that is at most `max` bytes long; *ret_data is the caller's (free), one NUL follows the data. Returns the length or -errno (-EFBIG). */
ssize_t fd_read_all(int fd, size_t max, char **ret_data);

/* Writes all of data; repeats after EINTR and short writes. */
int fd_write_all(int fd, const void *data, size_t len);

/* One write(2) into an existing kernel file (cgroup, proc, sysctl). -EIO after a short write. */
int fd_write_kernel(int dirfd, const char *path, const char *value);

/* A file that must not be there yet, flushed; its name is not: for a directory that becomes visible later. Nothing is left after a failure. */
int fd_new_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/* Publishes data as dirfd/name: a temporary name beside it, fsync, rename, fsync of the directory. A kill at any instruction leaves the old or the new file. */
int fd_publish_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/* The same for another owner ((uid_t)-1: as it is), who has it before it has its name: behind that name could lie another file of the directory's owner by then. */
int fd_publish_file_of(int dirfd, const char *name, const void *data, size_t len, mode_t mode, uid_t uid, gid_t gid);

/* Publishes a symlink dirfd/name -> target the same way. */
int fd_publish_symlink(int dirfd, const char *name, const char *target);

/* mkdir -p below dirfd with one mode for what is missing. */
int fd_mkdir_p(int dirfd, const char *path, mode_t mode);

/* Removes dirfd/name with all below, never following a symlink, never crossing into another file system. A missing name is success. */
int fd_remove_tree(int dirfd, const char *name);
/* The same, but -ETIME at that monotonic time (0: never), with a part of it removed. */
int fd_remove_tree_until(int dirfd, const char *name, uint64_t end_ns);

/*
 * One datagram or the head of a stream with up to FD_PASS_MAX descriptors (unix(7), SCM_RIGHTS). fd_recv returns the bytes read, 0 at the end, -errno; the received descriptors are the caller's,
 * close-on-exec; those beyond the array's size are closed, and so are all of them when the call fails or returns 0 (a message without a byte may carry some). -EMSGSIZE if data or descriptors were cut; -ECONNRESET if the peer ended with something unread, once what it had sent
 * has been received. Both take MSG_DONTWAIT in flags.
 */
#define FD_PASS_MAX 16
int fd_send(int sock, const void *data, size_t len, const int *fds, unsigned nfds, int flags);
ssize_t fd_recv(int sock, void *data, size_t size, int *ret_fds, unsigned max_fds, unsigned *ret_nfds, int flags);

int fd_set_nonblock(int fd, int on);

/* As many descriptors as the hard limit allows (getrlimit(2), RLIMIT_NOFILE). */
void fd_raise_limit(void);

/* A memfd holding data, sealed against every change (memfd_create(2), F_SEAL_*); name shows in /proc. With exec it can be executed by fexecve. */
int fd_sealed_memfd(const char *name, const void *data, size_t len, int exec);
