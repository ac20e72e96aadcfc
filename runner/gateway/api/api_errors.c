/* api_errors.c: the one table from errno to error code and HTTP status. */
#include "api_private.h"

#include <errno.h>

const struct api_error api_errors[] = {
    {ENOENT, "not_found", 404},
    {ESRCH, "not_found", 404},
    {EINVAL, "invalid", 400},
    {ERANGE, "invalid", 400},
    {ENAMETOOLONG, "invalid", 400},
    {EPERM, "not_allowed", 403},
    {EACCES, "not_allowed", 403},
    {EEXIST, "exists", 409},
    {EBUSY, "busy", 409},
    {EALREADY, "busy", 409},
    {ENOPKG, API_NO_RUNTIME, 409}, /* of the package that was deployed */
    {ECANCELED, "canceled", 409},
    {EFBIG, "too_large", 413},
    {E2BIG, "too_large", 413},
    /* What was sent is not an archive, or its function.ini or its contents are refused. */
    {EBADMSG, "bad_archive", 422},
    {EILSEQ, "bad_archive", 422},
    {EPROTO, "bad_archive", 422},
    {EOPNOTSUPP, "not_supported", 422},
    /* The archive was taken and its first instance did not become ready: it ended, or could not be executed, or does not answer. */
    {ECHILD, "deploy_failed", 422},
    {ENOEXEC, "deploy_failed", 422},
    {EHOSTDOWN, "deploy_failed", 422},
    {ECONNREFUSED, "deploy_failed", 422},
    {ETIMEDOUT, "timeout", 504},
    {ETIME, "timeout", 504},
    {ENOSPC, "no_space", 507},
    {EDQUOT, "no_space", 507},
    {ENOMEM, "no_memory", 503},
    {ENOBUFS, "overloaded", 503},
    {EAGAIN, "overloaded", 503},
    {EMFILE, "overloaded", 503},
    {ENFILE, "overloaded", 503},
    {EUSERS, "overloaded", 503},
    {ECONNRESET, "no_runner", 503},
    {ENOTCONN, "no_runner", 503},
    {EPIPE, "no_runner", 503},
    {ESHUTDOWN, "no_runner", 503},
    {0, "method_not_allowed", 405},
    {0, "internal", 500},
    {0, NULL, 0},
};

const struct api_error *api_error_find(int err)
{
    const struct api_error *e = api_errors;

    while (e[1].code && (e->err == 0 || e->err != err))
        e++;
    return e;
}
