#!/bin/sh
# Http_Query is what stands behind the question mark.
name=${Http_Query:-name=world}
echo "$GREETING ${name#name=}, from a shell"
