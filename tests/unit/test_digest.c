/* The digest with a thread is the digest without one, however the data comes, and whatever becomes of another digest beside it. */
#include "unit/check.h"

#include "../../runner/unpack/digest_thread.h"
#include "../../runner/unpack/unpack_internal.h"
#include "diag.h"

#include <stdlib.h>
#include <string.h>

#define ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-2, appendix B.1 */
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MANY  (5U * DIGEST_BLOCK / 2)

static struct digest *digest_make(struct digest_thread *t)
{
    struct digest *g = NULL;
    struct diag d = {0};

    assert_int_equal(digest_new(&g, &d), 0);
    digest_by_thread(g, t);
    return g;
}

static void expect(struct digest *g, const char *want)
{
    struct diag d = {0};
    char hex[65];

    assert_int_equal(digest_finish(g, hex, &d), 0);
    assert_string_equal(hex, want);
    digest_free(g);
}

static struct digest_thread *thread_make(void)
{
    struct digest_thread *t = NULL;
    struct diag d = {0};

    assert_int_equal(digest_thread_start(&t, &d), 0);
    return t;
}

static void test_known(void **state)
{
    struct digest_thread *threads[] = {NULL, thread_make()};

    for (size_t i = 0; i < COUNT(threads); i++) {
        struct digest *g = digest_make(threads[i]);

        expect(g, EMPTY);
        g = digest_make(threads[i]);
        digest_data(g, "a", 1);
        digest_data(g, "", 0);
        digest_data(g, "bc", 2);
        expect(g, ABC);
    }
}

/* The buffer is overwritten at once: what was given has been taken. */
static void feed(struct digest *g, const char *data, size_t len, size_t each)
{
    char *piece = malloc(each);

    assert_non_null(piece);
    for (size_t at = 0; at < len; at += each) {
        size_t n = len - at < each ? len - at : each;

        memcpy(piece, data + at, n);
        digest_data(g, piece, n);
        memset(piece, 'x', each);
    }
    free(piece);
}

static void test_same_as_without(void **state)
{
    static const size_t sizes[] = {1, DIGEST_BLOCK - 1, DIGEST_BLOCK, DIGEST_BLOCK + 1, MANY}, pieces[] = {100, 4096, DIGEST_BLOCK, MANY + 1};
    struct digest_thread *t = thread_make();
    char *data = malloc(MANY), want[65];
    struct diag d = {0};

    assert_non_null(data);
    for (size_t i = 0; i < MANY; i++)
        data[i] = (char)(i * 7 + i / 251);
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t k = 0; k < COUNT(pieces); k++) {
            struct digest *plain = digest_make(NULL), *g = digest_make(t);

            digest_data(plain, data, sizes[i]);
            assert_int_equal(digest_finish(plain, want, &d), 0);
            digest_free(plain);
            feed(g, data, sizes[i], pieces[k]);
            expect(g, want);
        }
    free(data);
}

/* Two at a time, as of a layer with two digests, more rounds than there are blocks; one that is given up half way takes nothing with it. */
static void test_beside_each_other(void **state)
{
    struct digest_thread *t = thread_make();
    char *data = calloc(1, MANY), want[65];
    struct digest *plain = digest_make(NULL);
    struct diag d = {0};

    assert_non_null(data);
    digest_data(plain, data, MANY);
    assert_int_equal(digest_finish(plain, want, &d), 0);
    digest_free(plain);
    for (unsigned round = 0; round < 20; round++) {
        struct digest *a = digest_make(t), *b = digest_make(t);

        for (size_t at = 0; at < MANY; at += DIGEST_BLOCK / 2) {
            digest_data(a, data + at, DIGEST_BLOCK / 2);
            digest_data(b, data + at, DIGEST_BLOCK / 2);
            if (at == 0)
                digest_data(b, "b", 1);
        }
        if (round % 2)
            digest_free(b);
        expect(a, want);
        if (round % 2)
            continue;
        char hex[65];

        assert_int_equal(digest_finish(b, hex, &d), 0);
        assert_string_not_equal(hex, want);
        digest_free(b);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_same_as_without),
        cmocka_unit_test(test_beside_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
