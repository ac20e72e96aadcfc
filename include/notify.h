/* notify.h: sd_notify(3)'s protocol without its library: one datagram to $NOTIFY_SOCKET. */
#pragma once

/* "READY=1", "STOPPING=1", "STATUS=...". Nothing where nobody listens; errors are not errors of ours. */
void notify_send(const char *state);
