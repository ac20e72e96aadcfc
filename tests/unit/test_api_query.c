/* Query strings, percent-decoding, and the table of errors. */
#include "check.h"

#include "../../runner/gateway/api/api_private.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *text, struct query *q)
{
    struct diag d = {0};
    int r = query_parse(text, q, &d);

    assert_true(r == 0 || (d.err == -r && *d.text));
    return r;
}

static void parameters_in_their_order(void **state)
{
    struct query q;

    assert_int_equal(parse("a=1&b=%32%2b+&&c&d=&e=x=y", &q), 0);
    assert_int_equal(q.count, 5);
    assert_string_equal(query_get(&q, "a"), "1");
    assert_string_equal(query_get(&q, "b"), "2++"); /* a plus is a plus */
    assert_string_equal(query_get(&q, "c"), "");
    assert_string_equal(query_get(&q, "d"), "");
    assert_string_equal(query_get(&q, "e"), "x=y");
    assert_null(query_get(&q, "f"));
    query_done(&q);
    assert_int_equal(parse("", &q), 0);
    assert_int_equal(q.count, 0);
    query_done(&q);
    assert_int_equal(parse("%76ar=K%3DV%26%25%0A%ff", &q), 0);
    assert_string_equal(query_get(&q, "var"), "K=V&%\n\xff");
    query_done(&q);
}

static void broken_escapes_are_refused(void **state)
{
    static const char *const bad[] = {"a=%", "a=%4", "a=%4g", "a=%g4", "a=%00", "%=1", "a=1&b=%2", "a=%4&b=1", "a=% 41", "a=%+41", "a=%0x"};
    struct query q;

    for (size_t i = 0; i < COUNT(bad); i++)
        if (parse(bad[i], &q) != -EINVAL)
            fail_msg("\"%s\" was taken", bad[i]);
}

/* Every prefix of an escape, at the end of its memory: the sanitizer sees a read beyond. */
static void decoding_reads_no_further(void **state)
{
    static const char text[] = "ab%41%";

    for (size_t len = 0; len < sizeof(text); len++) {
        cleanup_free char *copy = malloc(len + 1);
        size_t out = 99;
        int r;

        assert_non_null(copy);
        memcpy(copy, text, len);
        copy[len] = '\0';
        r = percent_decode(copy, len, &out);
        assert_int_equal(r, len == 3 || len == 4 || len >= 6 ? -EINVAL : 0);
        if (r == 0)
            assert_int_equal(out, strlen(copy));
    }
}

static void allowed_keys_only(void **state)
{
    struct diag d = {0};
    struct query q;

    assert_int_equal(parse("name=x&var=A=1&var=B=2", &q), 0);
    assert_int_equal(query_check(&q, "name environment var*", &d), 0);
    assert_int_equal(query_check(&q, "name environment var", &d), -EINVAL);
    assert_non_null(strstr(d.text, "twice"));
    assert_int_equal(query_check(&q, "names environment var*", &d), -EINVAL);
    assert_non_null(strstr(d.text, "\"name\""));
    assert_int_equal(query_check(&q, "", &d), -EINVAL);
    query_done(&q);
    assert_int_equal(parse("var*=1", &q), 0);
    assert_int_equal(query_check(&q, "var*", &d), -EINVAL);
    query_done(&q);
    assert_int_equal(parse("=1", &q), 0);
    assert_int_equal(query_check(&q, "a b", &d), -EINVAL);
    query_done(&q);
}

static void too_many_parameters(void **state)
{
    cleanup_free char *text = malloc(10001);
    struct query q;

    assert_non_null(text);
    memset(text, '&', 10000);
    text[10000] = '\0';
    assert_int_equal(parse(text, &q), -EINVAL);
}

static void error_table(void **state)
{
    static const struct {
        int err, status;
        const char *code;
    } expected[] = {
        {ENOENT, 404, "not_found"},  {EINVAL, 400, "invalid"},       {EPERM, 403, "not_allowed"},     {EACCES, 403, "not_allowed"},
        {EEXIST, 409, "exists"},     {EBUSY, 409, "busy"},           {ENOSPC, 507, "no_space"},       {EDQUOT, 507, "no_space"},
        {EFBIG, 413, "too_large"},   {ETIMEDOUT, 504, "timeout"},    {ECONNRESET, 503, "no_runner"},  {EBADMSG, 422, "bad_archive"},
        {ENOPKG, 409, "no_runtime"}, {ECHILD, 422, "deploy_failed"}, {ENOEXEC, 422, "deploy_failed"}, {EXDEV, 500, "internal"},
        {0, 500, "internal"},        {4095, 500, "internal"},
    };
    size_t n = 0;

    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_int_equal(api_error_find(expected[i].err)->status, expected[i].status);
        assert_string_equal(api_error_find(expected[i].err)->code, expected[i].code);
    }
    for (; api_errors[n].code; n++) {
        assert_in_range(api_errors[n].status, 400, 599);
        for (size_t i = 0; i < n; i++) {
            if (api_errors[n].err)
                assert_int_not_equal(api_errors[n].err, api_errors[i].err);
            if (strcmp(api_errors[n].code, api_errors[i].code) == 0)
                assert_int_equal(api_errors[n].status, api_errors[i].status);
        }
    }
    assert_string_equal(api_errors[n - 1].code, "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_in_their_order), cmocka_unit_test(broken_escapes_are_refused), cmocka_unit_test(decoding_reads_no_further),
        cmocka_unit_test(allowed_keys_only),         cmocka_unit_test(too_many_parameters),        cmocka_unit_test(error_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
