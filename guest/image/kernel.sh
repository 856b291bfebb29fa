# runner-image: the kernel that guests boot, and its initramfs.
# shellcheck shell=bash

bytes() { # FILE OFFSET COUNT
    dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none
}

number() { # FILE OFFSET TYPE: one little-endian number (u1, u2, u4)
    od -An -t "$3" -j "$2" -N "${3#u}" "$1" | tr -d ' '
}

# Linux, Documentation/arch/x86/boot.rst: the payload is the compressed vmlinux, then its size in four bytes.
extract_vmlinux() { # BZIMAGE OUT
    local sectors offset length magic size decompress
    [ "$(bytes "$1" $((0x202)) 4)" = HdrS ] && [ "$(number "$1" $((0x206)) u2)" -ge $((0x208)) ] ||
        die "$1 is no bzImage of boot protocol 2.08"
    sectors=$(number "$1" $((0x1f1)) u1)
    offset=$(((sectors + 1) * 512 + $(number "$1" $((0x248)) u4)))
    length=$(number "$1" $((0x24c)) u4)
    size=$(number "$1" $((offset + length - 4)) u4)
    magic=$(od -An -tx1 -j "$offset" -N 4 "$1" | tr -d ' ')
    case $magic in
    02214c18) decompress=(lz4 -q -d -c -) ;;
    28b52ffd) decompress=(zstd -q -d -c -) ;;
    fd377a58) decompress=(xz -q -d -c --single-stream -) ;;
    1f8b*) decompress=(gzip -q -d -c) && length=$((length + 4)) ;;
    *) die "the kernel's payload is compressed in an unknown way (magic $magic)" ;;
    esac
    bytes "$1" "$offset" $((length - 4)) | "${decompress[@]}" >"$2" || die "the kernel's payload does not decompress"
    [ "$(stat -c %s "$2")" = "$size" ] || die "the kernel's payload is $(stat -c %s "$2") bytes, not $size"
    has_pvh_note "$2" || die "the kernel has no PVH entry point"
}

# An ELF note of owner Xen and type 18 (XEN_ELFNOTE_PHYS32_ENTRY); its content is 4 or 8 bytes.
has_pvh_note() {
    LC_ALL=C grep -qaP '\x04\x00\x00\x00[\x04\x08]\x00\x00\x00\x12\x00\x00\x00Xen\x00' "$1"
}

# ---- initramfs ----

# What the guest daemon must have before it answers comes first. ext4 is part of Debian's kernel.
modules=(virtio_pci virtio_blk isofs virtio_net button evdev virtio_rng virtio_balloon virtio_console
    vmw_vsock_virtio_transport pvpanic_pci pvpanic_mmio)
declare -A module_file=() module_done=()

index_modules() { # DIR
    local file name
    while IFS= read -r file; do
        name=${file##*/}
        name=${name%%.*}
        module_file[${name//-/_}]=$file
    done < <(find "$1" -name '*.ko*' -type f)
    [ ${#module_file[@]} -gt 0 ] || die "the kernel's package has no modules"
}

# A module as the kernel maps it: without compression and without signature. Checking signatures takes an emulated guest
# a tenth of its boot, and what they protect from, a root that may not change the kernel, is not how a sandbox is kept.
unpack_module() { # FILE OUT
    local size signature
    case $1 in
    *.xz) xz -q -d -c "$1" >"$2" ;;
    *.zst) zstd -q -d -c "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
    esac
    [ "$(tail -c 28 "$2" | tr -d '\n\0')" = '~Module signature appended~' ] || return 0
    size=$(stat -c %s "$2")
    signature=$((0x$(od -An -tx1 -j $((size - 32)) -N 4 "$2" | tr -d ' ')))
    truncate -s $((size - 28 - 12 - signature)) "$2"
}

# Adds the module after those it depends on; the list is in the order of loading.
add_module() { # NAME TREE
    local depends name
    [ -z "${module_done[$1]:-}" ] || return 0
    module_done[$1]=1
    [ -n "${module_file[$1]:-}" ] || die "the kernel's package has no module '$1'"
    unpack_module "${module_file[$1]}" "$2/lib/modules/$1.ko"
    depends=$(tr '\0' '\n' <"$2/lib/modules/$1.ko" | sed -n 's/^depends=//p')
    for name in ${depends//,/ }; do
        add_module "${name//-/_}" "$2"
    done
    echo "/lib/modules/$1.ko" >>"$2/lib/modules/load"
}

# Not compressed: unpacking takes an emulated guest longer than the VMM takes to read it.
make_initramfs() { # MODULE_DIR OUT
    local tree=$work/initramfs name
    mkdir -p "$tree"/{dev,proc,sys,newroot,lib/modules}
    install -m 0755 "$guestd" "$tree/init"
    index_modules "$1"
    for name in "${modules[@]}"; do
        add_module "$name" "$tree"
    done
    (cd "$tree" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) >"$2"
}
