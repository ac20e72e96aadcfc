/* audit.h: STATE/audit.log: one line a changing call: when, who, from where, what, of what, with which result. Never a secret. Beside it, one that was full: audit.log.1. */
#pragma once

struct audit;
struct record_audit;

int audit_new(int state_fd, struct audit **ret); /* state_fd: borrowed as long as it lives */
void audit_free(struct audit *a);
void audit_write(struct audit *a, const struct record_audit *rec);
