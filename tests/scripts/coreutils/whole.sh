#!/bin/bash
# Every name of the root file system.
# limit: 120
# compare: no
# places: machine
set -u
n=$(find / -xdev 2>/dev/null | wc -l); echo "$n names"
[ "$n" -gt 10000 ] || exit 1
ls -lR /usr >list 2>/dev/null; [ "$(wc -l <list)" -gt 10000 ] || exit 2
du -sx /usr >/dev/null 2>&1 || exit 3
# Wiping what one sees leaves the host alone; here only a part, for the time it takes.
rm -rf /usr/share/doc; [ ! -e /usr/share/doc ] || exit 4
