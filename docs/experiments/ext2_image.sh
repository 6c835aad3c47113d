#!/bin/bash
# ext2_image.sh FILE: the small image that docs/ext2.md lays open.
set -e
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
mkdir "$folder/notes"
seq 1 5000 >"$folder/notes/numbers"
ln -s notes/numbers "$folder/link"
truncate -s 300K "$folder/holes"
echo end >>"$folder/holes"
PATH=$PATH:/usr/sbin:/sbin
rm -f "$1"
E2FSPROGS_FAKE_TIME=1000000000 mke2fs -q -t ext2 -b 1024 -N 32 -E root_owner=0:0 \
    -U 00000000-0000-0000-0000-000000000000 -d "$folder" "$1" 1024k 2>/dev/null >&2
