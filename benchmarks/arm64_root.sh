#!/usr/bin/env bash
# Makes a small arm64 Debian with Python 3.11 and the device package in it, without running any arm64 program.
#
#     benchmarks/arm64_root.sh ROOT          (Debian: apt install mmdebstrap qemu-user-static; 300 MB)
#
# Run from the repository. hnswlib is left out: it has no wheels, and everything works without it.
set -euo pipefail
root=$(realpath -m "${1:?name the folder to make}")
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
opencv=$(sed -n 's/^opencv-python==/opencv-python-headless==/p' "$repository/constraints.txt")
if [ ! -e "$root/usr/bin/python3.11" ]; then
    rm -rf "$root.part"
    mmdebstrap --variant=extract --architectures=arm64 \
        --include=python3,libgomp1,libstdc++6,zlib1g,ca-certificates \
        bookworm "$root.part" "deb ${MIRROR:-http://deb.debian.org/debian} bookworm main"
    mv -T "$root.part" "$root"
fi
# ONNX Runtime reads the CPU's part number; under emulation it finds this file first and dies without it.
mkdir -p "$root/proc"
for processor in 0 1; do
    printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n' "$processor"
    printf 'CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done > "$root/proc/cpuinfo"
platforms=(--only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64)
if [ ! -e "$root/site/onnxruntime" ]; then
    rm -rf "$root/site.part"
    "$python" -m pip install --quiet --target "$root/site.part" "${platforms[@]}" \
        --constraint "$repository/constraints.txt" numpy onnxruntime "$opencv" click rich msgspec
    mv "$root/site.part" "$root/site"
fi
# The package itself is Python alone; built here as it is now, installed without asking for hnswlib.
rm -rf "$root/site/sightline" "$root"/site/sightline-*
# What an earlier build left in build/ would go into the wheel, files that are gone included.
rm -rf "$repository/build"
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$wheels" "$repository"
"$python" -m pip install --quiet --target "$root/site" --no-deps "${platforms[@]}" "$wheels"/sightline-*.whl
echo "made $root"
