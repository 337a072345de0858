# Raspberry Pi 3, 4, 5, Zero 2 with a 64-bit system, and other ARMv8 boards.
debian_arch=arm64
gnu=aarch64-linux-gnu
gcc_packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
qemu="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
