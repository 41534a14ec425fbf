# boot.sh TREE: systemd as the first process of this pid namespace, in a tree of directories; one without a /usr of its
# own is given the machine's.
# Run in new pid, mount, UTS and cgroup namespaces.
set -eu
tree=$1
mount --make-rprivate /
mount --bind "$tree" "$tree"
if ! [[ -e $tree/usr/bin ]]; then
    mount --bind /usr "$tree/usr"
    mount -o remount,bind,ro "$tree/usr"
fi
mount -t proc proc "$tree/proc"
mount --bind "$tree/proc/sys" "$tree/proc/sys" # the machine's own settings, which systemd would raise
mount -o remount,bind,ro "$tree/proc/sys"
mount -t sysfs -o ro sysfs "$tree/sys"
mount -t cgroup2 cgroup2 "$tree/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$tree/run"
mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
mkdir -p "$tree/dev/pts" "$tree/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$tree/dev/pts"
mount -t tmpfs tmpfs "$tree/dev/shm"
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$tree/dev/"; done
ln -s pts/ptmx "$tree/dev/ptmx"
ln -s null "$tree/dev/console"
for number in 0 1 2; do ln -s "/proc/self/fd/$number" "$tree/dev/$(sed -n "$((number + 1))p" <<<$'stdin\nstdout\nstderr')"; done
ln -s /proc/self/fd "$tree/dev/fd"
hostname inside
cd "$tree"
pivot_root . .
umount -l .
exec env -i container=afunix PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    /usr/lib/systemd/systemd --system --show-status=0 --log-target=journal --log-level=info
