#!/bin/bash
# Broken configurations, each with its exact messages, against the real runner-ch and copies of a plugin that has one
# parameter of each type (t/plugin/chameleon.c).
. "${top_srcdir:-.}/t/run/lib.sh"

runner=$top_builddir/runner-ch
plugin=$top_builddir/t/plugin/chameleon.so
unset "${!API_@}" "${!CH_@}" "${!DAYTONA_@}" "${!LOG_@}" "${!RUNNER_@}" SERVER_URL
[ -f "$plugin" ] || skip_all "$plugin is not built (no Criterion)"
for name in transport/local vmm/qemu disk/qcow2 disk/reflink disk/wrong-magic disk/load-fails network/bridge network/user \
    ipam/static-pool; do
    mkdir -p "$dir/plugins/${name%/*}"
    cp "$plugin" "$dir/plugins/$name.so"
done
cd "$dir" || exit 99

# refuse NAME MESSAGES: standard input is a runner.yaml which --check-config must answer with exactly these lines and
# exit status 2.
refuse() {
    cat >r.yaml
    "$runner" --check-config --config r.yaml --plugin-dir "$dir/plugins" >out 2>err
    status=$?
    sed -i "s|$dir|DIR|g" err
    printf '%s\n' "$2" >want
    if [ $status = 2 ] && cmp -s want err && [ ! -s out ]; then
        report 0 "$1"
    else
        report 1 "$1"
        echo "# exit status $status"
        diff want err | sed 's/^/# /'
    fi
}

refuse 'misspelt key' "r.yaml:1:1: lisen: unknown key 'lisen'; did you mean 'listen'?" <<'E'
lisen: ["unix:/x"]
E
refuse 'key that is like no other' \
    "r.yaml:1:7: log.quux_zap: unknown key 'quux_zap'; expected one of level, format" <<'E'
log: {quux_zap: 1}
E
refuse 'key twice' "r.yaml:3:1: workers: expected each key once, found 'workers' again (first in line 1)" <<'E'
workers: 4
loops: 2
workers: 5
E
refuse 'not YAML' "r.yaml:2:6: not YAML: while parsing a flow mapping, did not find expected ',' or '}'" <<'E'
log: {level: info
hosts: []
E
refuse 'alias' "r.yaml:3:12: hosts[0].defaults: expected a value, found an alias (*name), which is not supported" <<'E'
x: &x {cpus: 1}
hosts: [{name: a,
 defaults: *x}]
E
refuse 'two documents' "r.yaml:2:1: expected one document, found another (---)" <<'E'
workers: 4
---
E
refuse 'list at the top' "r.yaml:1:1: expected a mapping (key: value), found a list" <<'E'
- workers
E
refuse 'number out of bounds' "r.yaml:1:10: workers: expected a whole number from 1 to 1024, found '0'" <<'E'
workers: 0
E
refuse 'time without unit' \
    "r.yaml:1:19: timeouts.ready: expected a time such as 250ms, 30s or 5m, from 100ms to 24h, found '60'" <<'E'
timeouts: {ready: 60}
E
refuse 'size with an unknown unit' \
    "r.yaml:4:26: hosts[0].disk.cache: expected a size such as 512M or 20GiB, from 1M to 1T, found '20Q'" <<'E'
hosts:
  - name: a
    disk: {plugin: qcow2,
                  cache: 20Q}
E
refuse 'choice, nearly right' \
    "r.yaml:1:14: log.level: expected one of error, warn, info, debug, found 'debgu'; did you mean 'debug'?" <<'E'
log: {level: debgu}
E
refuse 'mapping where a list belongs' "r.yaml:1:9: listen: expected a list of addresses, found a mapping" <<'E'
listen: {tcp: 3005}
E
refuse 'bad address' "r.yaml:1:10: listen[0]: expected IP:PORT, [IPv6]:PORT or unix:/PATH, found 'localhost:3005'" <<'E'
listen: ["localhost:3005"]
api: {token: t}
E
refuse 'TCP without a token' \
    'r.yaml:1:10: listen[0]: expected a token (api.token, api.token_file or API_TOKEN), which a TCP address needs, found none' <<'E'
listen: ["127.0.0.1:3005"]
E
refuse 'token with a blank is not shown' \
    'r.yaml:1:14: api.token: expected 1 to 1024 printable ASCII characters without blanks, found something else' <<'E'
api: {token: "my hush"}
E
refuse 'no such token file' \
    "r.yaml:1:19: api.token_file: expected a file that holds the token and is not open to others, found '/nonexistent/token': No such file or directory" <<'E'
api: {token_file: /nonexistent/token}
E
refuse 'host without a name, and one name twice' \
    "r.yaml:2:5: hosts[0].name: expected 1 to 32 of a-z, 0-9 and '-' (what the host is called), found nothing
r.yaml:4:11: hosts[2].name: expected each host name once, found 'b' again" <<'E'
hosts:
  - root: /r
  - name: b
  - name: b
E
refuse 'path that leaves the root' \
    "r.yaml:1:47: hosts[0].vmm.dir: expected an absolute path or one below the host's root, without '..', found '../x'" <<'E'
hosts: [{name: a, vmm: {plugin: "qemu",  dir: ../x}}]
E
refuse 'plugin that is not there, nearly right' \
    "r.yaml:1:34: hosts[0].disk.plugin: expected a disk plugin (load-fails, qcow2, reflink, wrong-magic), found 'qcow': no file 'DIR/plugins/disk/qcow.so'; did you mean 'qcow2'?" <<'E'
hosts: [{name: a, disk: {plugin: qcow}}]
E
refuse 'plugin that is none, plugin that does not load' \
    "r.yaml:2:29: hosts[0].disk.plugin: plugin 'DIR/plugins/disk/wrong-magic.so': wanted magic 0x524e5231, found 0x464c457f
r.yaml:3:29: hosts[1].disk.plugin: plugin 'DIR/plugins/disk/load-fails.so': load: no such hardware" <<'E'
hosts:
 - {name: a, disk: {plugin: wrong-magic}}
 - {name: b, disk: {plugin: load-fails}}
E
refuse 'section without a plugin' \
    'r.yaml:1:28: hosts[0].network.plugin: expected the name of a network plugin, found nothing' <<'E'
hosts: [{name: a, network: {bridge: br0}}]
E
refuse 'required parameter' \
    'r.yaml:1:25: hosts[0].ipam.range: expected a value (addresses, first-last), found nothing' <<'E'
hosts: [{name: a, ipam: {plugin: static-pool, gateway: 10.0.0.1/24}}]
E
refuse 'list for a parameter that may not repeat' \
    'r.yaml:1:48: hosts[0].vmm.count: expected a whole number from 1 to 64, found a list' <<'E'
hosts: [{name: a, vmm: {plugin: qemu,   count: [1, 2]}}]
E
refuse 'several faults, all reported' \
    "r.yaml:1:1: wrokers: unknown key 'wrokers'; did you mean 'workers'?
r.yaml:2:14: log.level: expected one of error, warn, info, debug, found 'loud'
r.yaml:3:45: hosts[0].defaults.cpus: expected a whole number from 1 to 1024, found 'x'
r.yaml:3:69: hosts[0].vmm.cuont: unknown key 'cuont'; did you mean 'count'?" <<'E'
wrokers: 1
log: {level: loud}
hosts: [{name: a,          defaults: {cpus: x}, vmm: {plugin: qemu, cuont: 1}}]
E

# The bounds.
{ printf 'domain: '; head -c 300000 /dev/zero | tr '\0' x; echo; } >big
refuse 'file of 300 000 bytes' \
    'r.yaml: expected a readable file of at most 262144 bytes, found: more than 262144 bytes' <big

# The environment counts more than the file, and is named.
printf 'log: {level: warn}\n' >r.yaml
LOG_LEVEL=loud "$runner" --check-config --config r.yaml --plugin-dir "$dir/plugins" >out 2>err
[ $? = 2 ] && [ "$(cat err)" = "env LOG_LEVEL: log.level: expected one of error, warn, info, debug, found 'loud'" ]
report $? 'bad environment variable'
CH_SSH_HOST=root@h "$runner" --check-config --config r.yaml --plugin-dir "$dir/plugins" >out 2>err
[ $? = 2 ] && [ "$(cat err)" = "env CH_SSH_HOST: hosts[0].transport.plugin: expected a transport plugin (local), found 'ssh': no file '$dir/plugins/transport/ssh.so'" ]
report $? 'CH_SSH_HOST asks for a plugin that is missing'
"$runner" --check-config --config absent.yaml --plugin-dir "$dir/plugins" >out 2>err
[ $? = 2 ] && [ "$(cat err)" = 'absent.yaml: expected a readable file of at most 262144 bytes, found: No such file or directory' ]
report $? 'file that is not there'

# What is printed has no secret and says where things came from.
printf 'workers: 5\nhosts: [{name: h, disk: {plugin: qcow2, secret_key: hush1}}]\n' >r.yaml
API_TOKEN=hush2 CH_DEFAULT_CPUS=2 "$runner" --print-config --config r.yaml --plugin-dir "$dir/plugins" >out 2>err
[ $? = 0 ] && ! grep -q hush out && grep -qx 'workers: 5 # r.yaml:1' out && grep -qx 'loops: 2 # default' out &&
    grep -qx '      cpus: 2 # env CH_DEFAULT_CPUS' out && grep -qx '  token: "\*\*\*" # env API_TOKEN' out &&
    grep -qx '      secret_key: "\*\*\*" # r.yaml:2' out
report $? '--print-config: origins, and no secret'

"$runner" --dump-plugin disk/qcow2 --plugin-dir "$dir/plugins" >out 2>err
[ $? = 0 ] && grep -qx 'kind=disk' out && grep -qx 'op.clone=yes' out && grep -qx 'param.mode.choices=fast,slow,secure' out &&
    grep -qx "path=$dir/plugins/disk/qcow2.so" out
report $? '--dump-plugin'
"$runner" --dump-plugin disk/wrong-magic --plugin-dir "$dir/plugins" >out 2>err
[ $? = 2 ] && grep -q 'wanted magic 0x524e5231, found 0x464c457f' err && [ ! -s out ]
report $? '--dump-plugin of a file that is no plugin'
done_testing
