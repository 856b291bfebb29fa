#!/bin/bash
# Every file in conf/ is a configuration that the plugins just built accept; the reference says the defaults.
set -u

build=$(cd "${top_builddir:-.}" && pwd) || exit 99
runner=$build/runner-ch
plugins=$build/plugins
conf=${top_srcdir:-$(cd "${0%/*}/../.." && pwd)}/conf
dir=$(mktemp -d "${TMPDIR:-/tmp}/runner-examples.XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
unset "${!API_@}" "${!CH_@}" "${!DAYTONA_@}" "${!LOG_@}" "${!RUNNER_@}" SERVER_URL
n=0

if [ ! -f "$plugins/network/bridge.so" ]; then # the default network: each example needs it
    echo "1..0 # SKIP network/bridge is not built (a library is missing)"
    exit 0
fi

result() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

for file in "$conf"/*.yaml; do
    "$runner" --print-config --config "$file" --plugin-dir "$plugins" >"$dir/out" 2>"$dir/err"
    status=$?
    result $status "${file##*/} is accepted"
    sed 's/^/# /' "$dir/err"
done

# Without the comments, that is without the origins, both are the same.
"$runner" --print-config --config /dev/null --plugin-dir "$plugins" >/dev/null 2>"$dir/err"
[ $? = 2 ] # no regular file
result $? 'a device is no configuration'
: >"$dir/empty.yaml"
"$runner" --print-config --config "$dir/empty.yaml" --plugin-dir "$plugins" | sed 's/ *# .*//' >"$dir/defaults"
"$runner" --print-config --config "$conf/runner.yaml" --plugin-dir "$plugins" | sed 's/ *# .*//' >"$dir/reference"
diff "$dir/defaults" "$dir/reference" >"$dir/diff" && [ -s "$dir/defaults" ]
result $? 'conf/runner.yaml says the defaults'
sed 's/^/# /' "$dir/diff"

# The printed configuration is one itself, and the same.
"$runner" --print-config --config "$dir/defaults" --plugin-dir "$plugins" 2>"$dir/err" | sed 's/ *# .*//' >"$dir/again"
[ -s "$dir/again" ] && cmp -s "$dir/defaults" "$dir/again"
result $? '--print-config prints what it reads'
sed 's/^/# /' "$dir/err"

# Each parameter of a plugin that an example shows is explained by the plugin.
for so in "$plugins"/*/*.so; do
    name=${so#"$plugins"/}
    name=${name%.so}
    "$runner" --dump-plugin "$name" --plugin-dir "$plugins" >"$dir/dump" 2>"$dir/err"
    status=$?
    types=$(grep -c '^param\..*\.type=' "$dir/dump")
    docs=$(grep -c '^param\..*\.doc=.' "$dir/dump")
    [ $status = 0 ] && [ "$types" = "$docs" ]
    result $? "--dump-plugin $name: $types parameters, each with its doc"
    sed 's/^/# /' "$dir/err"
done
echo "1..$n"
