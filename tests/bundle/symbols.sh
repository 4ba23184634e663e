#!/usr/bin/env bash
# Fails where a program of a bundle needs more than every machine has: a later glibc than 2.34, or a
# library beside glibc's own, libgcc_s and libstdc++ that the bundle does not bring. Of the module
# that speaks MPI, MPI is the machine's.  Usage: symbols.sh FOLDER
set -euo pipefail
export LC_ALL=C
latest=2.34
system='^(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|ld-linux-x86-64)\.so'

found=""
while read -r file; do
  name=${file#"$1"/}
  while read -r version; do
    [ "$(printf '%s\n' $latest "$version" | sort -V | tail -n 1)" = $latest ] ||
      found+="$name needs glibc $version: $(objdump -T "$file" | grep -F "(GLIBC_$version)" |
        awk '{ printf " %s", $NF }')"$'\n'
  done < <(objdump -T "$file" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -u)
  while read -r library; do
    [[ "$library" =~ $system ]] || [ -e "$1/lib/$library" ] ||
      { [[ "$name" = lib/tessera/tessera_mpi.so ]] && [[ "$library" = libmpi.so.* ]]; } ||
      found+="$name needs $library"$'\n'
  done < <(objdump -p "$file" | awk '/NEEDED/ { print $2 }')
done < <(find "$1" -type f -exec sh -c 'head -c 4 "$1" | grep -q ELF' _ {} \; -print)
if [ -n "$found" ]; then
  printf '%s' "$found" >&2
  exit 1
fi
