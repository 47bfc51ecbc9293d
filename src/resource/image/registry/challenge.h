/* challenge.h - what a server asks for before it answers (RFC 9110, 11.6.1). */
#ifndef RESOURCE_IMAGE_REGISTRY_CHALLENGE_H
#define RESOURCE_IMAGE_REGISTRY_CHALLENGE_H

enum challenge_kind {
    CHALLENGE_NONE, /* no scheme that is known here */
    CHALLENGE_BASIC,
    CHALLENGE_BEARER,
    CHALLENGE_KIND_COUNT
};

struct challenge {
    enum challenge_kind kind;
    char realm[1024]; /* of Bearer: address of the token server */
    char service[512];
    char scope[1024];
};

/* Read a WWW-Authenticate value (several joined by commas are one list).  The
 * strongest known scheme wins.  -EINVAL when the text is no such list or a
 * value is too long. */
int challenge_parse(const char *text, struct challenge *ret);

#endif
