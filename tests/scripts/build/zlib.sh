#!/bin/bash
# zlib from its source package: configure, make -j4, its own tests.
# needs: gcc make
# fixture: zlib
# limit: 240
# compare: no
set -eu
tar xf "$FIXTURE"/*.orig.tar.*; cd zlib-*
./configure >configured; make -j4 >made 2>&1 || { tail made; exit 1; }
make test 2>&1 | tee tested | grep -c 'zlib.*test OK'
echo hello hello hello >t; ./minigzip <t | ./minigzip -d | cmp - t && echo round
