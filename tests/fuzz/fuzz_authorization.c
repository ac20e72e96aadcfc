/* Authorization fields: whatever is taken is within its bounds, printable, and read the same again. */
#include "fuzz_http.h"

#include "../../runner/gateway/auth/auth_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = exact_copy(data, size);
    struct auth_header *h = malloc(sizeof(*h)); /* of its very size, too */
    enum auth_scheme scheme;

    if (!h)
        abort();
    memset(h, 'x', sizeof(*h));
    scheme = auth_header_parse(copy, size, h);
    assert(scheme <= AUTH_BROKEN && (scheme != AUTH_NONE || size == 0));
    if (scheme == AUTH_BASIC || scheme == AUTH_BEARER) {
        assert(h->secret_len <= PASSWORD_MAX && memchr(h->secret, '\0', sizeof(h->secret)) && strlen(h->secret) == h->secret_len);
        for (size_t i = 0; i < h->secret_len; i++)
            assert((unsigned char)h->secret[i] >= 0x20 && h->secret[i] != 0x7f);
        assert(scheme != AUTH_BASIC || strnlen(h->user, sizeof(h->user)) <= AUTH_USER_MAX);
        auth_token_shaped(h->secret, h->secret_len);
    }
    auth_header_wipe(h);
    free(h);
    free(copy);
    return 0;
}
