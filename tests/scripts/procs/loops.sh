#!/bin/bash
# Many short processes.
# limit: 90
set -eu
for i in $(seq 300); do /bin/true; done; echo 300
for i in $(seq 500); do (:); done; echo 500
x=$(for i in $(seq 200); do /bin/echo $i; done | sort -n | tail -1); echo $x
for i in $(seq 8); do (for j in $(seq 40); do /bin/true; done; echo part) & done; wait
seq 400 | xargs -P 8 -n 1 sh -c 'exit 0'; echo xargs $?
find /usr/bin -name 'z*' -exec true {} \; ; echo found
