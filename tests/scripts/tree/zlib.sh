#!/bin/bash
# zlib from its source package, built in the Debian tree.
# root: bookworm
# fixture: zlib
# places: machine user
# limit: 240
# compare: no
set -eu
d=$(mktemp -d /tmp/XXXXXX); cd "$d"
tar xf /mnt/*.orig.tar.* ; cd zlib-*
./configure >configured; make -j4 >made 2>&1 || { tail made; exit 1; }
make test 2>&1 | tee tested | grep -c 'zlib.*test OK'
touch /mnt/x 2>/dev/null && exit 3
echo built
