# runner-image: the snapshots of a host.
# shellcheck shell=bash

is_ref() {
    [[ ${#1} -le 255 && $1 =~ ^[A-Za-z0-9][A-Za-z0-9._:@-]*(/[A-Za-z0-9][A-Za-z0-9._:@-]*){0,7}$ ]]
}

manifest_text() { # FILE MEMBER: a member that is a text
    tr '\n' ' ' <"$1" | sed -n "s/.*\"$2\" *: *\"\([^\"]*\)\".*/\1/p"
}

# Names of the sandboxes whose disk grows from the snapshot.
users_of() { # REF
    local record
    for record in "$root"/sandboxes/*/runner.json; do
        [ -e "$record" ] && [ "$(manifest_text "$record" snapshot)" = "$1" ] || continue
        record=${record%/runner.json}
        printf '%s ' "${record##*/}"
    done
}

# What the runner pulled is in its books.
refuse_pulled() { # REF
    [ ! -e "$root/snapshots/$1/manifest.json" ] || [ -z "$(manifest_text "$root/snapshots/$1/manifest.json" base)" ] ||
        die "snapshot '$1' was pulled by the runner; 'runnerctl rmi $1' removes it"
}

refuse_used() { # REF
    local users
    [ -z "$is_forced" ] || return 0
    users=$(users_of "$1")
    [ -z "$users" ] || die "snapshot '$1' is the base of the disks of: ${users% }"
}

list() {
    local manifest name
    printf '%-24s %-44s %9s  %s\n' NAME VERSION SIZE CREATED
    [ -d "$root/snapshots" ] || return 0
    find "$root/snapshots" -mindepth 2 -maxdepth 9 -name manifest.json -not -path '*/.build.*' | sort |
        while IFS= read -r manifest; do
            name=${manifest#"$root/snapshots/"}
            printf '%-24s %-44s %5s MiB  %s\n' "${name%/manifest.json}" "$(manifest_text "$manifest" version)" \
                "$(du -sm "${manifest%/*}" | cut -f1)" "$(manifest_text "$manifest" createdAt)"
        done
}

# Sets $dir to the snapshot's.
find_snapshot() { # REF
    is_ref "$1" || die "'$1' is not a snapshot reference"
    [ -e "$root/snapshots/$1/manifest.json" ] || die "no snapshot '$1' in $root/snapshots"
    dir=$root/snapshots/$1
}

show() { # REF
    find_snapshot "$1"
    cat "$dir/manifest.json"
    (cd "$dir" && du -k -- *)
}

remove_snapshot() { # REF
    find_snapshot "$1"
    refuse_pulled "$1"
    refuse_used "$1"
    make_work
    mv -T "$dir" "$work/old"
    step "removed $dir"
}
