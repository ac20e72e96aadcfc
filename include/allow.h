/*
 * allow.h: the words of [sandbox] allow: what each opens again that a sandbox refuses by default, and what that costs.
 *
 * One table for the parser, the plan, the manual (fnctl(1)) and the filter. What has no acceptable price has no word: mounts, namespaces, bpf, perf_event_open, userfaultfd, raw sockets, further capabilities.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct diag;
struct strbuf;

/* Numbers of bits in struct spec's `allow`, which is stored: new ones come last, none is used twice. */
enum sandbox_allow { ALLOW_NETLINK_ROUTE, ALLOW_PTRACE, ALLOW_IO_URING, ALLOW_KEYCTL, ALLOW_NUMA, ALLOW_AIO, ALLOW_MQUEUE, ALLOW_COUNT };

#define ALLOW_BIT(word) (UINT64_C(1) << (word))
#define ALLOW_ALL       (ALLOW_BIT(ALLOW_COUNT) - 1)

/* No word, and in no spec: fn-init of a function of mode stdio has clone3, to give birth into a cgroup; its second filter refuses it to the function. */
#define ALLOW_INIT_CLONE3 (UINT64_C(1) << 63)

struct sandbox_allow_word {
    const char *word;
    const char *opens, *price; /* one line each, for people */
};

extern const struct sandbox_allow_word sandbox_allow_words[ALLOW_COUNT];

/* The number of a word of `len` bytes, or -ENOENT. */
int sandbox_allow_find(const char *word, size_t len);

/* Words with blanks or commas between them, as bits; -EINVAL with the known ones. */
int sandbox_allow_parse(const char *words, uint64_t *ret, struct diag *d);

/* The words of the bits, with blanks between them. */
void sandbox_allow_format(uint64_t bits, struct strbuf *out);
