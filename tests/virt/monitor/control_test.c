/* control_test.c - packets to a machine are read with mistrust; the words that nobody does are refused. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "tests/base/check.h"
#include "virt/monitor/control/control.h"

static int do_state(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    (void)e;
    ++*(int *)who;
    *ret = json_pack("{s:b}", "had", c->arg != NULL);
    return 0;
}

static int do_power(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    (void)who;
    (void)c;
    *ret = json_object(); /* is not leaked by a failure */
    return err_set(e, -EBUSY, "not now");
}

static int do_stats(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    static char text[FAR_MOST_BYTES];

    (void)who;
    (void)c;
    (void)e;
    memset(text, 'x', sizeof text - 1);
    *ret = json_pack("{s:s}", "long", text);
    return 0;
}

/* Send a packet whose head says `size`; the kind of the answer. */
static unsigned ask(const struct far_head *h, const char *body, size_t n, json_t **ret)
{
    static int called;
    const struct control_words w = {
        .fn = {[FAR_STATE] = do_state, [FAR_POWER] = do_power, [FAR_STATS] = do_stats},
        .who = &called};
    uint8_t in[FAR_MOST_BYTES + 64] = {0};
    uint8_t out[FAR_MOST_BYTES];
    struct far_head answer;
    size_t len;

    far_head_write(h, in);
    memcpy(in + FAR_HEAD_BYTES, body, strlen(body));
    len = control_answer(&w, in, n, out);
    assert_int_equal(far_head_read(out, len, FAR_KIND_COUNT, &answer, NULL), 0);
    *ret = NULL;
    if (len > FAR_HEAD_BYTES) {
        assert_int_equal(json_parse((char *)out + FAR_HEAD_BYTES, len - FAR_HEAD_BYTES,
                                    "answer", ret, NULL),
                         0);
    }
    if (answer.word == FAR_DONE) {
        assert_int_equal(answer.serial, h->serial);
    }
    return answer.word;
}

static unsigned ask_word(unsigned word, const char *body, json_t **ret)
{
    const struct far_head h = {.size = (uint32_t)(FAR_HEAD_BYTES + strlen(body)),
                               .version = FAR_VERSION,
                               .word = (uint16_t)word,
                               .serial = 77};

    return ask(&h, body, h.size, ret);
}

static void refuses(unsigned word, const char *body, int code, const char *piece)
{
    json_t *said;

    assert_int_equal(ask_word(word, body, &said), FAR_ERROR);
    assert_int_equal(json_integer_value(json_object_get(said, "code")), code);
    assert_non_null(strstr(json_string_value(json_object_get(said, "text")), piece));
    json_decref(said);
}

static void a_word_is_done(void **state)
{
    json_t *said;

    (void)state;
    assert_int_equal(ask_word(FAR_STATE, "", &said), FAR_DONE);
    assert_true(json_is_false(json_object_get(said, "had")));
    json_decref(said);
    assert_int_equal(ask_word(FAR_STATE, "{\"a\":1}", &said), FAR_DONE);
    assert_true(json_is_true(json_object_get(said, "had")));
    json_decref(said);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    refuses(FAR_HELLO, "", EOPNOTSUPP, "cannot do 'hello'");
    refuses(FAR_VERB_COUNT, "", EBADMSG, "there is no word");
    refuses(65535, "", EBADMSG, "there is no word");
    refuses(FAR_STATE, "[]", EINVAL, "not an object");
    refuses(FAR_STATE, "{", EINVAL, "cannot read the request");
    refuses(FAR_STATE, "{\"a\":1,\"a\":2}", EINVAL, "duplicate");
    refuses(FAR_POWER, "", EBUSY, "not now");
    refuses(FAR_STATS, "", EMSGSIZE, "too long");
}

static void heads_are_checked(void **state)
{
    struct far_head h = {
        .size = FAR_HEAD_BYTES, .version = FAR_VERSION, .word = FAR_STATE};
    json_t *said;

    (void)state;
    for (size_t n = 0; n < FAR_HEAD_BYTES; n++) { /* cut at each byte */
        assert_int_equal(ask(&h, "", n, &said), FAR_ERROR);
        json_decref(said);
    }
    assert_int_equal(ask(&h, "", FAR_HEAD_BYTES + 1, &said), FAR_ERROR);
    json_decref(said);
    h.size = FAR_MOST_BYTES + 1;
    assert_int_equal(ask(&h, "", h.size, &said), FAR_ERROR);
    json_decref(said);
    h.size = FAR_HEAD_BYTES;
    h.version = 2;
    assert_int_equal(ask(&h, "", h.size, &said), FAR_ERROR);
    json_decref(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_is_done),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(heads_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
