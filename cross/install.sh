#!/bin/sh
# Installs Tidegate from this folder. Can be run again, with the same version or another: the site's file is kept.
#
#   sudo ./install.sh                install or upgrade
#   sudo ./install.sh --uninstall    remove; the site's file and the store stay
#   ./install.sh --root DIR          lay the files out below DIR: for a trial, or for an image of a system
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=
uninstall=no

main() {
    while [ $# -gt 0 ]; do
        case $1 in
        --root) [ $# -ge 2 ] || usage; root=${2%/}; shift 2 ;;
        --uninstall) uninstall=yes; shift ;;
        *) usage ;;
        esac
    done
    if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
        fail "run it as root (sudo $0), or with --root DIR"
    fi
    if [ "$uninstall" = yes ]; then
        remove
    else
        put
    fi
}

put() {
    if [ -z "$root" ]; then
        "$here/tidegate" --version >/dev/null 2>&1 || fail "this package is not for this machine ($(uname -m))"
    fi
    file 755 tidegate usr/bin/tidegate
    file 644 systemd/tidegate.service usr/lib/systemd/system/tidegate.service
    file 644 systemd/sysusers.conf usr/lib/sysusers.d/tidegate.conf
    file 644 systemd/tmpfiles.conf usr/lib/tmpfiles.d/tidegate.conf
    file 644 systemd/udev.rules usr/lib/udev/rules.d/60-tidegate.rules
    for text in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY.md; do
        file 644 "$text" "usr/share/doc/tidegate/$text"
    done
    # Whole folders of the last version go first, so that nothing of it is left over.
    for folder in config docs licenses; do
        rm -rf "$root/usr/share/doc/tidegate/$folder"
        cp -r "$here/$folder" "$root/usr/share/doc/tidegate/$folder"
    done
    [ -d "$root/etc/tidegate" ] || install -d -m 750 "$root/etc/tidegate"
    kept=no
    if [ -e "$root/etc/tidegate/tidegate.toml" ]; then
        kept=yes
        echo "kept /etc/tidegate/tidegate.toml; this version's default is /usr/share/doc/tidegate/config/tidegate.toml"
    else
        file 644 config/tidegate.toml etc/tidegate/tidegate.toml
    fi
    [ -n "$root" ] || activate
}

# file MODE FROM TO: a whole file or the old one, also when the power goes.
file() {
    install -D -m "$1" "$here/$2" "$root/$3.new"
    sync "$root/$3.new"
    mv -f "$root/$3.new" "$root/$3"
}

activate() {
    systemd-sysusers tidegate.conf
    systemd-tmpfiles --create tidegate.conf
    if [ ! -d /run/systemd/system ]; then
        echo "systemd does not run here: files are in place, nothing was started"
        return
    fi
    systemctl daemon-reload
    udevadm control --reload 2>/dev/null || true
    udevadm trigger --subsystem-match=usb-serial --action=add 2>/dev/null || true
    if systemctl is-active --quiet tidegate; then
        if ! tidegate check /etc/tidegate/tidegate.toml; then
            fail "the site's file does not suit this version: the running gateway was left alone; mend the file, then: systemctl restart tidegate"
        fi
        systemctl restart tidegate
        echo "upgraded and restarted: $(tidegate --version)"
    elif [ "$kept" = no ]; then
        cat <<'TEXT'
Installed. Now:
  sudo nano /etc/tidegate/tidegate.toml
  sudo tidegate check /etc/tidegate/tidegate.toml
  sudo systemctl enable --now tidegate
  sudo tidegate status
TEXT
    fi
}

remove() {
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl disable --now tidegate 2>/dev/null || true
    fi
    for path in usr/bin/tidegate usr/lib/systemd/system/tidegate.service usr/lib/sysusers.d/tidegate.conf \
        usr/lib/tmpfiles.d/tidegate.conf usr/lib/udev/rules.d/60-tidegate.rules usr/share/doc/tidegate; do
        rm -rf "$root/$path"
    done
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    echo "removed; /etc/tidegate and /var/lib/tidegate are kept"
}

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 64
}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

main "$@"
