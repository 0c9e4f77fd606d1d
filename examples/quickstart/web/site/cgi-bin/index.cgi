#!/bin/sh
# The page: which version this is, who serves it, and what the store next door has.
version=$(cat ../version)
since=$(wget -q -O - "http://$STORE/since") || since="nobody knows: the store does not answer"
printf 'Content-Type: text/html\r\n\r\n'
printf '<!doctype html>\n<title>shop</title>\n<link rel="stylesheet" href="/style.css">\n'
printf '<h1>Shop, version %s</h1>\n<p>Served by %s.</p>\n<p>Data since %s</p>\n' "$version" "$(hostname)" "$since"
