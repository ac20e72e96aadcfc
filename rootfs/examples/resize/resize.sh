#!/bin/sh
# An image in, the same image smaller out; ?size=WIDTHxHEIGHT says how small (never larger, its proportions kept).
size=${Http_Query:-size=50%}
size=${size#size=}
case $size in
50%) ;;
*[!0-9x]* | '' | x | *x*x*)
    echo "resize: ?size=WIDTHxHEIGHT is understood, not ?$Http_Query" >&2
    exit 2
    ;;
*) size="$size>" ;;
esac
exec convert - -auto-orient -resize "$size" -strip -
