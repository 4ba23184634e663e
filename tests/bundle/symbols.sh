#!/usr/bin/env bash
# Fails where a program of a bundle needs more than every machine has: a later glibc than 2.34, a
# later libstdc++ than GCC 11's, or a library beside glibc's own and libgcc_s that the bundle does
# not bring. MPI is the machine's; Highway's library alone may need libstdc++.
# Usage: symbols.sh FOLDER [planted]    planted: finds what is planted in a copy
set -euo pipefail
export LC_ALL=C
system='^(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux-x86-64)\.so'

# too_new FILE PREFIX LATEST: the versions of a library that FILE needs and LATEST does not have.
too_new() {
  local version
  { objdump -T "$1" | grep -o "(\?$2[0-9.]*" | sed "s/(\?$2//" | sort -u || true; } |
    while read -r version; do
      [ "$(printf '%s\n' "$3" "$version" | sort -V | tail -n 1)" = "$3" ] ||
        printf ' %s%s:%s' "$2" "$version" \
          "$(objdump -T "$1" | awk -v v="$2$version" 'index($0, v) { printf " %s", $NF }')"
    done
}

# faults FOLDER: a line each.
faults() {
  local file name library found
  [ -x "$1/tessera" ] || { echo "$1 has no tessera" && return; }
  while read -r file; do
    name=${file#"$1"/}
    found=$(too_new "$file" GLIBC_ 2.34)$(too_new "$file" GLIBCXX_ 3.4.29)
    [ -z "$found" ] || echo "$name needs$found"
    while read -r library; do
      if ! { [[ $library =~ $system ]] || [ -e "$1/lib/$library" ] ||
        [[ $name:$library = lib/tessera/tessera_mpi.so:libmpi.so.* ]] ||
        [[ $name:$library = lib/libhwy.so.*:libstdc++.so.6 ]]; }; then
        echo "$name needs $library"
      fi
    done < <(objdump -p "$file" | awk '/NEEDED/ { print $2 }')
  done < <(find "$1" -type f -exec sh -c 'head -c 4 "$1" | grep -q ELF' _ {} \; -print)
}

if [ "${2:-}" = planted ]; then
  copy=$(mktemp -d)
  trap 'rm -rf "$copy"' EXIT
  cp -r "$1/." "$copy"
  gcc -shared -o "$copy/lib/late.so" -xc - <<<'unsigned arc4random(void);
    unsigned planted(void) { return arc4random(); }'
  g++ -shared -fPIC -o "$copy/lib/cxx.so" -xc++ - <<<'#include <string>
    std::string planted(const char* s) { return s; }'
  found=$(faults "$copy")
  for fault in 'lib/late.so needs GLIBC_2.36: arc4random' 'lib/cxx.so needs libstdc++.so.6'; do
    grep -qF "$fault" <<<"$found" || { echo "not found: $fault" >&2 && exit 1; }
  done
  [ "$(wc -l <<<"$found")" = 2 ] ||
    { printf 'more than was planted:\n%s\n' "$found" >&2 && exit 1; }
  exit
fi
found=$(faults "$1")
[ -z "$found" ] || { printf '%s\n' "$found" >&2 && exit 1; }
