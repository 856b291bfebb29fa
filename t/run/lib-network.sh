# For tests of network/bridge by packets, in network namespaces of their own (any sh): . lib-network.sh
#   need_network PROGRAM...    skips the whole test unless root, /dev/net/tun, those programs and such namespaces are there
#   need_runner_dns            the same, unless runner-dns was built
#   in_namespace COMMAND...    becomes that command, in a new network namespace
#   in_namespace_with_sysfs    the same, whose /sys is that namespace's
PYTHONPATH=$top_srcdir/t/rig:$top_srcdir/t/run
export PYTHONPATH

skip_network()
{
    echo "1..0 # SKIP $*"
    exit 0
}

need_network()
{
    [ "$(id -u)" = 0 ] || skip_network "needs root"
    [ -c /dev/net/tun ] || skip_network "needs /dev/net/tun"
    for program in unshare "$@"; do
        command -v "$program" >/dev/null || skip_network "needs $program"
    done
    unshare -n true 2>/dev/null || skip_network "no network namespaces here"
}

need_runner_dns()
{
    [ -x "${top_builddir:-.}/plugins/network/bridge/runner-dns" ] ||
        skip_network "runner-dns was not built: a library is missing"
}

in_namespace() { exec unshare -n "$@"; }

in_namespace_with_sysfs()
{
    unshare -nm mount -t sysfs sysfs /sys 2>/dev/null || skip_network "no network namespaces here, with their sysfs"
    exec unshare -nm sh -c 'mount -t sysfs sysfs /sys && exec "$@"' sh "$@"
}
