#!/bin/bash
# fsx: random reads, writes, mappings, truncations and copies of one file, checked against what must be in it.
# fixture: tools
# limit: 120
# places: host machine plain
set -u
cat >config <<'END'
flen = 262144
[opsize]
max = 65536
[weights]
truncate = 2
read = 10
write = 10
mapread = 5
mapwrite = 5
close_open = 1
invalidate = 1
fsync = 1
fdatasync = 1
punch_hole = 2
posix_fallocate = 1
posix_fadvise = 1
copy_file_range = 2
sendfile = 2
END
shm=$(mktemp -d /dev/shm/fsx.XXXXXX)
trap 'rm -rf "$shm"' EXIT
for dir in "$PWD" "$shm"; do
	for seed in 1 2 3 4; do
		if "$FIXTURE/bin/fsx" -f config -S $seed -N 3000 "$dir/file" >out 2>&1; then
			echo "seed $seed: as it must be"
		else
			echo "seed $seed: failed"
			tail -n 50 out >&2
		fi
	done
done
