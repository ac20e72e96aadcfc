#!/bin/sh
# $Http_Method, $Http_Path, $Http_Query and $Http_<Header> are the request; an exit status that is not 0 is a 500.
echo "asked for ${Http_Path:-/}" >&2
printf 'Hello %s\n' "$(cat)"
