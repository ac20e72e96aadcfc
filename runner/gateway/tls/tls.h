/*
 * tls.h: TLS to clients (OpenSSL 3): certificates by host name, and connections.
 *
 * One struct tls a process; every worker uses it, so what changes in it (certificates, ticket keys) is behind a mutex that a handshake takes for a moment, and a request never. A connection keeps the certificate that
 * it began with: a reload drops none.
 */
#pragma once

#include "../gateway.h"

#include <stdatomic.h>

struct sock;
struct tls;

/* Before the confinement: OpenSSL reads its configuration and loads its providers. */
int tls_new(struct tls **ret, struct diag *d);
void tls_free(struct tls *t); /* behind the last connection */

/* A process of its own, root: opens the certificates of a directory, becomes uid and gid, and says on standard error which cannot be used. -EINVAL: there are such. */
int tls_check(const char *dir, uid_t uid, gid_t gid, struct diag *d);

/* ---- what the runner passes; worker 0's thread only ---- */

void tls_on_welcome(struct tls *t); /* forgets what of a set has come so far */
/* CERTIFICATE, KEY and ACME; takes fd. */
void tls_on_file(struct tls *t, const struct record_file *rec, int fd);
/* FILES: the set is whole. A certificate that cannot be used is logged, and the one that had its name before stays. */
void tls_on_files(struct tls *t);

/* acme.h, by any worker: what the ACME client has put into the directory for this path. Its length, -ENOENT. */
ssize_t tls_acme_read(struct tls *t, const char *path, size_t len, char *buf);

void tls_offer_h2(struct tls *t, bool on); /* in ALPN, before http/1.1; off at first */

/* ---- connections ---- */

/*
 * The bare connected s becomes the server's end of a TLS connection (s->ops, s->carrier). The handshake is driven by tls_handshake(), as by any recv or send. -ENOENT: there is no certificate.
 */
int tls_accept(struct tls *t, struct sock *s);

/*
 * 0: done; -EAGAIN: at the next edge; else it failed: -EPROTOTYPE where the client spoke plain HTTP (an answer in plain text can be sent after tls_abandon), -ECONNRESET, -EPROTO, -ENOMEM.
 */
int tls_handshake(struct sock *s);

/* Once the handshake is done. */
bool tls_chose_h2(const struct sock *s);

/* s is bare again, whatever the client thinks of that. */
void tls_abandon(struct sock *s);

/* ---- for the metrics ---- */

enum tls_version_index { TLS_INDEX_1_2, TLS_INDEX_1_3, TLS_INDEX_COUNT };
enum tls_failure { TLS_FAILED_PLAIN_HTTP, TLS_FAILED_CLOSED, TLS_FAILED_PROTOCOL, TLS_FAILED_NO_CERTIFICATE, TLS_FAILED_COUNT };

struct tls_counts {
    _Atomic uint64_t full[TLS_INDEX_COUNT], resumed[TLS_INDEX_COUNT];
    _Atomic uint64_t failed[TLS_FAILED_COUNT];
    _Atomic uint64_t reloads;
};

const struct tls_counts *tls_counts(const struct tls *t);

/* Calls `each` for every certificate that is served. */
void tls_certificates(struct tls *t, void (*each)(void *arg, const char *name, int64_t not_after), void *arg);
