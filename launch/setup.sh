#!/usr/bin/env bash
# Installs the Debian packages that Tessera builds and tests with, as root or with sudo, and those
# that are named as arguments. Does nothing when all are there.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config ccache git ca-certificates
  libhwy-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libfmt-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev
  libopenmpi-dev openmpi-bin
  libgtest-dev libdnnl-dev libbenchmark-dev
  python3 python3-pip python3-venv
  "$@"
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
    missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: need root or sudo to install: ${missing[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
