#!/bin/bash
# Every file in conf/ is a configuration that the plugins just built accept; the reference says the defaults.
. "${top_srcdir:-.}/t/run/lib.sh"

runner=$top_builddir/runner-ch
plugins=$top_builddir/plugins
conf=$top_srcdir/conf
unset "${!API_@}" "${!CH_@}" "${!DAYTONA_@}" "${!LOG_@}" "${!RUNNER_@}" SERVER_URL
# The default network: each example needs it.
[ -f "$plugins/network/bridge.so" ] || skip_all "network/bridge is not built (a library is missing)"

for file in "$conf"/*.yaml; do
    "$runner" --print-config --config "$file" --plugin-dir "$plugins" >"$dir/out" 2>"$dir/err"
    status=$?
    report $status "${file##*/} is accepted"
    sed 's/^/# /' "$dir/err"
done

# Without the comments, that is without the origins, both are the same.
"$runner" --print-config --config /dev/null --plugin-dir "$plugins" >/dev/null 2>"$dir/err"
[ $? = 2 ] # no regular file
report $? 'a device is no configuration'
: >"$dir/empty.yaml"
"$runner" --print-config --config "$dir/empty.yaml" --plugin-dir "$plugins" | sed 's/ *# .*//' >"$dir/defaults"
"$runner" --print-config --config "$conf/runner.yaml" --plugin-dir "$plugins" | sed 's/ *# .*//' >"$dir/reference"
diff "$dir/defaults" "$dir/reference" >"$dir/diff" && [ -s "$dir/defaults" ]
report $? 'conf/runner.yaml says the defaults'
sed 's/^/# /' "$dir/diff"

# The printed configuration is one itself, and the same.
"$runner" --print-config --config "$dir/defaults" --plugin-dir "$plugins" 2>"$dir/err" | sed 's/ *# .*//' >"$dir/again"
[ -s "$dir/again" ] && cmp -s "$dir/defaults" "$dir/again"
report $? '--print-config prints what it reads'
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
    report $? "--dump-plugin $name: $types parameters, each with its doc"
    sed 's/^/# /' "$dir/err"
done
done_testing
