/* url.c - parts of addresses, by libcurl's own parser, so that what is checked is
 * what is connected to. */
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "resource/image/registry/http.h"

static void scope_url(CURLU **u)
{
    curl_url_cleanup(*u);
}

static void scope_curl_text(char **text)
{
    curl_free(*text);
}

static int parse(const char *base, const char *url, CURLU **ret)
{
    CURLU *u = curl_url();

    if (u == NULL) {
        return -ENOMEM;
    }
    if ((base != NULL && curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK) ||
        curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK) {
        curl_url_cleanup(u);
        return -EINVAL;
    }
    *ret = u;
    return 0;
}

static void lower(char *text)
{
    for (; *text != '\0'; text++) {
        *text = (char)tolower((unsigned char)*text);
    }
}

int http_origin(const char *url, char **ret)
{
    __attribute__((cleanup(scope_url))) CURLU *u = NULL;
    __attribute__((cleanup(scope_curl_text))) char *scheme = NULL, *host = NULL,
                                                   *port = NULL;
    struct str s = {0};
    int r = parse(NULL, url, &u);

    if (r < 0) {
        return r;
    }
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK) {
        return -EINVAL;
    }
    str_addf(&s, "%s://%s:%s", scheme, host, port);
    *ret = str_take(&s);
    if (*ret == NULL) {
        return -ENOMEM;
    }
    lower(*ret);
    return 0;
}

int http_join(const char *base, const char *to, char **ret)
{
    __attribute__((cleanup(scope_url))) CURLU *u = NULL;
    __attribute__((cleanup(scope_curl_text))) char *user = NULL, *url = NULL;
    int r = parse(base, to, &u);

    if (r < 0) {
        return r;
    }
    (void)curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK ||
        curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK) {
        return -EINVAL; /* a login inside an address is never ours */
    }
    *ret = strdup(url);
    return *ret == NULL ? -ENOMEM : 0;
}

int http_host(const char *url, char **ret)
{
    __attribute__((cleanup(scope_url))) CURLU *u = NULL;
    __attribute__((cleanup(scope_curl_text))) char *host = NULL;
    int r = parse(NULL, url, &u);

    if (r < 0) {
        return r;
    }
    if (curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        return -EINVAL;
    }
    if (host[0] == '[') {
        *ret = strndup(host + 1, strcspn(host + 1, "]"));
    } else {
        *ret = strdup(host);
    }
    if (*ret == NULL) {
        return -ENOMEM;
    }
    lower(*ret);
    return 0;
}

bool http_is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;

    if (inet_pton(AF_INET, host, &four) == 1) {
        return (ntohl(four.s_addr) >> 24) == 127;
    }
    if (inet_pton(AF_INET6, host, &six) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&six);
    }
    return strcasecmp(host, "localhost") == 0;
}

bool http_is_plain(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0;
}
