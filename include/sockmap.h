/*
 * sockmap.h: what the runner's programs and the gateway agree upon about connections whose small messages go from socket to socket (runner/sockmaps.c has the theory).
 */
#pragma once

/* SO_PRIORITY of a connection to an instance, set before connect(2): the gateway asks for the short way. What any process may set, and nothing else here sets. */
#define SOCKMAP_PRIORITY 6

/* Of one request that is sent in one piece; and of one answer's first messages: what is behind them goes by TCP. So who has read as many bytes of an answer will find the rest in the TCP queue alone. */
#define SOCKMAP_BYTES 16384U

/* The short way's memory in a connection's lifetime, if the function reads nothing: SOCKMAP_COST a message besides its bytes. After that all goes by TCP, so the gateway takes a new connection before. */
#define SOCKMAP_COST     1024U
#define SOCKMAP_LIFETIME (4U * 1024 * 1024)
