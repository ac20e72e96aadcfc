#!/bin/sh
# Http_Query is what stands behind the question mark.
name=${Http_Query#name=}
echo "$GREETING ${name:-world}, from a shell"
