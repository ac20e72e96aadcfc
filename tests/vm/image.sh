#!/bin/bash
# image.sh: prints the directory of a bootable Debian 12 image for the VM suite, and makes it first if it is not there.
#
#   build/vm/KEY/{root.ext4,vmlinuz,initrd}      KEY is made of what the image depends on: the package list, this script, the initramfs' init
#
# The base image holds nothing of ours, so it survives every change of fnd; what is tested is copied over it by the initramfs (see run.py). Needs root. Packages come from the machine's own apt sources:
# whatever mirror, proxy or key it uses is read at run time and is written down nowhere.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-$here/../../build/vm}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
key=$(cat "$here/packages" "$here/image.sh" "$here/initramfs-init" | sha256sum | cut -c1-16)
image=$cache/$key

log() { echo "image: $*" >&2; }

exec 9>"$cache/lock"
flock 9
if [ -e "$image/complete" ]; then
    echo "$image"
    exit 0
fi
[ "$(id -u)" = 0 ] || { log "making the image needs root"; exit 1; }

# mmdebstrap mounts /proc and /sys into the tree that it fills: in a mount namespace of its own, nothing of that can stay behind, even after a kill.
if [ "${FND_IMAGE_NAMESPACE:-}" != 1 ]; then
    FND_IMAGE_NAMESPACE=1 exec unshare --mount --propagation private -- "$0" "$cache"
fi

started=$(date +%s)
log "making a Debian image in $image (once for each package list; takes minutes)"
rm -rf "$image"
mkdir -p "$image"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# The release that this machine runs, from the entries that it uses for it: not from third parties' entries.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
sources() {
    local f
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -e "$f" ]; then
            grep -hE "^deb .* $codename(-updates|-security)?(/updates)? " "$f" || [ $? = 1 ]
        fi
    done
}
deb822() {
    local f
    for f in /etc/apt/sources.list.d/*.sources; do
        if [ -e "$f" ]; then
            awk -v name="$codename" 'BEGIN { RS = ""; ORS = "\n\n" } $0 ~ ("(^|\n)Suites:[^\n]*[ \t]" name) && $0 !~ /(^|\n)Enabled:[ \t]*no/' "$f"
        fi
    done
}
mirrors=()
sources >"$work/apt.list"
deb822 >"$work/apt.sources"
# mmdebstrap decides by the content which of the two formats it sees; the two cannot be mixed in one file.
[ -s "$work/apt.list" ] && mirrors+=("$work/apt.list")
[ -s "$work/apt.sources" ] && mirrors+=("$work/apt.sources")
[ "${#mirrors[@]}" -gt 0 ] || { log "no apt source of this machine is for $codename"; exit 1; }
apt-config dump Acquire >"$work/apt.conf"

packages=$(sed 's/#.*//' "$here/packages" | tr -s ' \n' ',' | sed 's/^,//; s/,$//')

# INITRD=No keeps the kernel package from building an initramfs that nobody boots.
INITRD=No mmdebstrap --quiet --variant=minbase --mode=root --format=directory --include="$packages" --aptopt="$work/apt.conf" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$codename" "$work/root" "${mirrors[@]}" >&2

root=$work/root
kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
version=${kernel#vmlinuz-}
chroot "$root" depmod "$version"

# No console login: agetty hangs up the port that the kernel and the tests write to. No network set-up, no timers, no password prompt.
ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
ln -sf /dev/null "$root/etc/systemd/system/getty@tty1.service"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-firstboot.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
echo fnd-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost fnd-vm\n' >"$root/etc/hosts"
printf '/dev/vda / ext4 rw,noatime 0 0\n' >"$root/etc/fstab"
: >"$root/etc/machine-id"
rm -rf "$root/boot/"initrd* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

# The initramfs: a static busybox, and the modules between the kernel and its disk.
ram=$work/ram
mkdir -p "$ram/bin" "$ram/modules" "$ram/proc" "$ram/sys" "$ram/dev" "$ram/sysroot"
cp "$(command -v busybox)" "$ram/bin/busybox"
install -m 0755 "$here/initramfs-init" "$ram/init"
chroot "$root" modprobe -S "$version" --show-depends -a virtio_pci virtio_blk | awk -v root="$root" '$1 == "insmod" && !seen[$2]++ { print root $2 }' >"$work/modules"
n=0
while read -r module; do
    n=$((n + 1))
    cp "$module" "$ram/modules/$(printf '%02d' $n)-$(basename "$module")"
done <"$work/modules"
(cd "$ram" && find . -print0 | cpio --null --quiet --create --format=newc) >"$image/initrd"
cp "$root/boot/$kernel" "$image/vmlinuz"
rm -f "$root/boot/$kernel"

size=$(du -sm "$root" | cut -f1)
mke2fs -q -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" -L fnd-vm "$image/root.ext4" $((size + 700))M >&2
echo "$version" >"$image/kernel-version"
touch "$image/complete"

# Images of other package lists are of no use any more.
for old in "$cache"/*/; do
    old=${old%/}
    [ "$old" = "$image" ] || [ "$old" = "$work" ] || ! [ -e "$old/vmlinuz" ] || rm -rf "$old"
done
log "kernel $version, $size MB of packages, $(($(date +%s) - started)) s"
echo "$image"
