# Industrial PCs, and the machine that the tests run on.
debian_arch=amd64
gnu=x86_64-linux-gnu
gcc_packages="gcc libc6-dev"
qemu=
