/* function_format.h: values of function.ini from a spec: the way back of its keys (function_ini.c's table has both). Pure. */
#pragma once

#include <stdint.h>

struct diag;
struct spec;
struct strbuf;

/*
 * What of a spec is not its default, as a function.ini without a way to start: not command, user, runtime, handler and variables, which an image's configuration has. What no line of it can hold (too long, " ;") goes to
 * sets as SECTION.KEY=VALUE lines. function_ini_parse() of it with those gives the same spec. -E2BIG.
 */
int function_ini_format(const struct spec *s, struct strbuf *ini, struct strbuf *sets, struct diag *d);

/* ---- function_format.c: one value each; nothing is added for the default ---- */

typedef void function_format(const struct spec *s, struct strbuf *out);
function_format function_format_mode, function_format_access, function_format_egress, function_format_services, function_format_hosts, function_format_paths,
    function_format_cors, function_format_cors_methods, function_format_cors_headers, function_format_rate, function_format_rate_client,
    function_format_secrets, function_format_allow, function_format_devices;
void function_format_size(uint64_t bytes, struct strbuf *out);
void function_format_duration(uint64_t ns, struct strbuf *out);
