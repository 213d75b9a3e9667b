#!/bin/bash
# Large parts of the system's own tree: listed, packed, unpacked, searched.
# limit: 180
# oracle: same user
set -eu
export LC_ALL=C
find /usr/bin /usr/lib/x86_64-linux-gnu/perl* /usr/share/doc -xdev 2>/dev/null | sort | md5sum
find /etc /usr/share/perl* -xdev -type f -printf '%p %s %m\n' 2>/dev/null | sort | md5sum
ls -lR --time-style=+%s /usr/share/perl* 2>/dev/null | md5sum
tar cf t.tar --sort=name -C /usr/share/doc . 2>/dev/null; md5sum t.tar
mkdir x; tar xf t.tar -C x; diff -r --no-dereference x /usr/share/doc >/dev/null && echo same
tar czf t.tgz -C x . ; tar tzf t.tgz | wc -l
grep -rl 'Copyright' x 2>/dev/null | wc -l; grep -rc GPL x 2>/dev/null | awk -F: '{s += $2} END {print s}'
du -s --apparent-size x | awk '{print ($1 > 100)}'
cp -r x y; find y -type f -print0 | xargs -0 sed -i 's/GPL/LPG/g'; grep -rl LPG y | wc -l
rm -rf x y; ls
