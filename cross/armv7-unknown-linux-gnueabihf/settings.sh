# Raspberry Pi 2 and later with a 32-bit system, and other ARMv7 boards with a floating-point unit. Not Pi 1 and Zero: they are ARMv6.
debian_arch=armhf
gnu=arm-linux-gnueabihf
gcc_packages="gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
qemu="qemu-arm-static -L /usr/arm-linux-gnueabihf"
