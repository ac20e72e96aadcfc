/*
 * program_check.c: whether what is to be executed can be, as far as its first bytes tell: a program for this machine, or a script. What the kernel would say of it later, in an instance that does not start, is
 * "exec format error", for every one of these reasons.
 *
 * Runs in the jail, whose root is the image: symlinks lead nowhere else. What cannot be opened is not judged here.
 */
#include "image.h"
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 256U /* what the kernel reads of a #! line (BINPRM_BUF_SIZE) */

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#else
#error "which e_machine do programs have for this machine? (elf.h)"
#endif

static const struct {
    unsigned machine, class;
    const char *name;
} machines[] = {
    {EM_X86_64, ELFCLASS64, "x86-64"},  {EM_X86_64, ELFCLASS32, "x32"},    {EM_386, ELFCLASS32, "32-bit x86"},     {EM_AARCH64, ELFCLASS64, "arm64"},
    {EM_ARM, ELFCLASS32, "32-bit ARM"}, {EM_RISCV, ELFCLASS64, "riscv64"}, {EM_PPC64, ELFCLASS64, "64-bit POWER"}, {EM_S390, ELFCLASS64, "s390x"},
};

/* The first bytes of a file; how many, or -1 where it cannot be read. */
static ssize_t read_head(int root_fd, const char *path, char head[HEAD_BYTES])
{
    cleanup_fd int fd = openat(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    ssize_t len = 0, n = 1;

    if (fd < 0)
        return -1;
    while (len < (ssize_t)HEAD_BYTES && n > 0) {
        n = read(fd, head + len, HEAD_BYTES - (size_t)len);
        len += n > 0 ? n : 0;
    }
    return len;
}

static int check_elf(const char *head, size_t len, const char *shown, struct diag *d)
{
    const unsigned char *e = (const unsigned char *)head;
    bool little = len > EI_DATA && e[EI_DATA] == ELFDATA2LSB;
    unsigned machine;

    if (len < sizeof(Elf32_Ehdr))
        return diag_set(d, EINVAL, "\"%.200s\" is only the beginning of a program: was it copied whole?", shown);
    machine = little ? e[18] | (unsigned)e[19] << 8 : e[19] | (unsigned)e[18] << 8;
    if (machine == HOST_MACHINE && e[EI_CLASS] == ELFCLASS64 && little)
        return 0;
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
        if (machines[i].machine == machine && machines[i].class == e[EI_CLASS])
            return diag_set(d, EINVAL, "\"%.200s\" is a program for %s, this host is " IMAGE_ARCH_TEXT ": take one that is built for this host", shown,
                            machines[i].name);
    return diag_set(d, EINVAL,
                    "\"%.200s\" is a program for another machine (ELF machine %u), this host is " IMAGE_ARCH_TEXT ": take one that is built for this host",
                    shown, machine);
}

/* The interpreter of a script, or "" for what is none. */
static void script_interpreter(const char *head, ssize_t bytes, char *ret, size_t size)
{
    size_t len = bytes > 0 ? (size_t)bytes : 0, at = 2, n;

    *ret = '\0';
    if (len < 2 || memcmp(head, "#!", 2) != 0)
        return;
    while (at < len && (head[at] == ' ' || head[at] == '\t'))
        at++;
    for (n = 0; at + n < len && !strchr(" \t\r\n", head[at + n]); n++)
        ;
    if (n < size)
        snprintf(ret, size, "%.*s", (int)n, head + at);
}

static int check_script(const char *head, size_t len, const char *shown, struct diag *d)
{
    const char *end = memchr(head, '\n', len);

    if (end && end > head && end[-1] == '\r')
        return diag_set(d, EINVAL,
                        "\"%.200s\" has the line ends of Windows (CR LF), with which its first line names no program: sed -i 's/\\r$//' takes them out", shown);
    return 0;
}

int program_check(int root_fd, const char *path, const char *shown, struct diag *d)
{
    char head[HEAD_BYTES];
    ssize_t len = read_head(root_fd, path, head);

    if (len < 0)
        return 0;
    if (len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0)
        return check_elf(head, (size_t)len, shown, d);
    if (len >= 2 && memcmp(head, "#!", 2) == 0)
        return check_script(head, (size_t)len, shown, d);
    return diag_set(d, EINVAL, "\"%.200s\" is neither a program nor a script: a script's first line is #!/bin/sh, or the path of what else runs it", shown);
}

/* A program of a runtime, by its path there; and what runs it, where it is a script. */
static int check_of_runtime(int root_fd, const char *program, struct diag *d)
{
    char head[HEAD_BYTES], interpreter[HEAD_BYTES];
    struct stat st;
    int r;

    if (fstatat(root_fd, program + 1, &st, 0) < 0)
        return 0;
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return diag_set(d, EACCES, "\"%s\" is not an executable file: chmod +x before packing", program);
    r = program_check(root_fd, program + 1, program, d);
    if (r < 0)
        return r;
    script_interpreter(head, read_head(root_fd, program + 1, head), interpreter, sizeof(interpreter));
    if (*interpreter != '/')
        return 0;
    if (fstatat(root_fd, interpreter + 1, &st, 0) < 0)
        return diag_set(d, ENOENT, "\"%s\" is run by %.200s, as its first line says, which is not in the tree: add it, or correct the line", program,
                        interpreter);
    return program_check(root_fd, interpreter + 1, interpreter, d);
}

int program_check_runtime(int root_fd, struct diag *d)
{
    static const char *const programs[] = {SPEC_STARTER, "/bin/sh"};
    int r = 0;

    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]) && r == 0; i++)
        r = check_of_runtime(root_fd, programs[i], d);
    return r < 0 ? diag_prefix(d, "the runtime's tree") : 0;
}
