# runner-image: Debian's packages and the programs that unpack them.
# shellcheck shell=bash

# need PROGRAM PACKAGE: the Debian package that brings it.
need() {
    command -v "$1" >/dev/null || [[ " $missing " == *" $2 "* ]] || missing+=" $2"
}

need_programs() {
    local missing=
    PATH=$PATH:/usr/sbin:/sbin
    need apt-get apt
    need dpkg-deb dpkg
    need mke2fs e2fsprogs
    need debugfs e2fsprogs
    need cpio cpio
    need xz xz-utils
    need zstd zstd
    need lz4 lz4
    need flock util-linux
    [ "$1" != debian ] || need mmdebstrap mmdebstrap
    [ -z "$missing" ] || die "programs are missing; install the packages:$missing"
    [ "$(dpkg --print-architecture)" = amd64 ] || die "this machine is $(dpkg --print-architecture); only amd64 is known"
}

kernel_package=
declare -A package_file=() package_sum=()

# The kernel that the metapackage stands for; empty when apt has no lists.
find_kernel_package() {
    kernel_package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-cloud-amd64\)$/\1/p')
    kernel_package=${kernel_package%%$'\n'*}
}

refresh_lists() {
    find_kernel_package
    [ -z "$kernel_package" ] || return 0
    [ "$(id -u)" = 0 ] || die "apt knows no linux-image-cloud-amd64; run apt-get update as root"
    step "fetching apt's package lists"
    apt-get update -qq || die "apt-get update failed"
    find_kernel_package
    [ -n "$kernel_package" ] || die "apt knows no linux-image-cloud-amd64; is a Debian source configured?"
}

# plan PACKAGE...: the file and the checksum of the version of each that apt would install, in one go since each start of
# apt takes a while. In an empty folder: apt says nothing of files that are there.
plan() {
    local lines file sum
    mkdir -p "$work/empty"
    lines=$(cd "$work/empty" && apt-get download --print-uris "$@") || die "apt knows not all of: $*"
    while read -r _ file _ sum; do
        package_file[${file%%_*}]=$file
        package_sum[${file%%_*}]=${sum#SHA256:}
    done <<<"$lines"
}

is_intact() { # FILE SUM
    [ -s "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]
}

# fetch PACKAGE: sets $deb to its file, from the cache when it is there.
fetch() {
    local file=${package_file[$1]:-} sum=${package_sum[$1]:-}
    [ -n "$file" ] || die "apt names no file of $1"
    deb=$cache/packages/$file
    ! is_intact "$deb" "$sum" || return 0
    step "downloading $file"
    rm -f "$cache/packages/$1"_*.deb
    (cd "$cache/packages" && apt-get -qq -o APT::Sandbox::User=root download "$1") || die "apt-get could not download $1"
    is_intact "$deb" "$sum" || die "$deb is not what apt's lists say"
}

package_sums() {
    printf '%s\n' "${package_sum[@]}" | sort
}
