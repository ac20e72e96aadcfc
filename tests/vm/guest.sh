#!/bin/bash
# guest.sh: the tests that run inside the virtual machine, as root, on a Debian 12 with systemd where `make install` has put fnd. Reports over the terminal it is started on; see run.py.
#
# Every function test_* below is a test, in the order in which they stand here, and runs in a shell of its own with a time limit; they build on each other (one service, started once). Then every program of tests/root
# runs in a test host of its own: this kernel is older than most development machines', and its cgroups are pure v2. Booted with fnd.suite=hostile it runs the hostile suite instead.
set -u
here=$(cd "$(dirname "$0")" && pwd)
limit=200
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

fail() {
    echo "$*"
    exit 1
}

# wait_until SECONDS COMMAND...: waits for a condition, says so when it does not come.
wait_until() {
    local deadline=$((${EPOCHREALTIME//./} + $1 * 1000000))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "${EPOCHREALTIME//./}" -gt "$deadline" ]; then
            echo "waited in vain for: $*"
            "$@"
            return 1
        fi
        sleep 0.02
    done
}

api() {
    curl -sS --fail-with-body --max-time 20 --unix-socket /run/fnd/fnd.sock "http://fnd/api/v1$1"
}

# field JSON-PATH: prints one value of the JSON document on standard input ("instances.0.pid").
field() {
    python3 -c '
import json, sys
value = json.load(sys.stdin)
for part in sys.argv[1].split("."):
    value = value[int(part)] if isinstance(value, list) else value[part]
print(value)' "$1"
}

ready() {
    [ "$(api "/functions/$1" | field ready)" = "$2" ]
}

instance_pids() {
    api "/functions/$1/instances" | python3 -c '
import json, sys
for i in json.load(sys.stdin)["instances"]:
    if i["state"] == "ready": print(i["pid"])'
}

get() {
    curl -sS --fail --max-time 20 "http://127.0.0.1:8888$1"
}

code() {
    curl -sS -o /dev/null -w '%{http_code}' --max-time 30 "http://127.0.0.1:8888$1"
}

main_pid() {
    systemctl show -p MainPID --value "$1"
}

inactive() {
    [ "$(systemctl is-active "$1")" = inactive ]
}

# The process of the function: the child of fn-init, which is the instance's pid.
function_pid() {
    local init
    init=$(instance_pids "$1" | head -n 1)
    cut -d' ' -f1 "/proc/$init/task/$init/children"
}

test_host_is_what_we_support() {
    case $(uname -r) in 6.1.*) ;; *) fail "kernel $(uname -r) is not Debian 12's" ;; esac
    [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || fail "cgroups are not pure v2"
    [ -z "$(systemctl --failed --no-legend)" ] || fail "units failed: $(systemctl --failed --no-legend)"
}

test_check_accepts_the_installed_configuration() {
    fnd --check || fail "fnd --check"
    fnctl --version
}

test_doctor() {
    fnctl doctor
}

test_start() {
    systemctl start fnd || { journalctl -n 40 --no-pager; fail "systemctl start fnd"; }
    for unit in fnd fnd-gateway fnd-instances fnd.socket; do
        [ "$(systemctl is-active "$unit")" = active ] || fail "$unit is $(systemctl is-active "$unit")"
    done
    wait_until 10 get /healthz
}

# exposure UNIT: systemd's own figure, from 0 (safe) to 10.
exposure() {
    systemd-analyze security --no-pager "$1" | sed -nE 's/.*Overall exposure level for [^:]*: ([0-9.]+) .*/\1/p'
}

test_units_are_hardened() {
    local pair figure
    for pair in "fnd.service 5.0" "fnd-gateway.service 1.5" "fnd-instances.service 4.5"; do
        figure=$(exposure "${pair% *}")
        echo "${pair% *}: $figure"
        awk -v is="$figure" -v below="${pair#* }" 'BEGIN { exit !(is != "" && is < below) }' || fail "${pair% *} has $figure, not below ${pair#* }: $(systemd-analyze security --no-pager "${pair% *}" | grep -v '✓')"
    done
}

test_runner_is_bounded() {
    local pid
    pid=$(main_pid fnd)
    grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp)' "/proc/$pid/status"
    grep -qE '^Seccomp:\s2$' "/proc/$pid/status" || fail "no seccomp filter"
    # 12 capabilities: SYS_ADMIN NET_ADMIN SETUID SETGID SETPCAP CHOWN DAC_OVERRIDE FOWNER KILL MKNOD SYS_CHROOT NET_BIND_SERVICE
    [ "$(awk '/^CapBnd:/ { print $2 }' "/proc/$pid/status")" = 00000000082415eb ] || fail "capabilities: $(grep Cap "/proc/$pid/status")"
    touch "/proc/$pid/root/usr/fnd-was-here" 2>/dev/null && fail "its /usr is writable"
    return 0
}

test_gateway_has_no_privilege() {
    local pid
    pid=$(main_pid fnd-gateway)
    grep -E '^(Uid|CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs|Seccomp):' "/proc/$pid/status"
    grep -q '^Uid:.*[^0-9]0[^0-9]' "/proc/$pid/status" && fail "runs as root"
    grep -qE '^CapEff:\s0+$' "/proc/$pid/status" || fail "has capabilities"
    grep -qE '^CapPrm:\s0+$' "/proc/$pid/status" || fail "may have capabilities"
    grep -qE '^NoNewPrivs:\s1$' "/proc/$pid/status" || fail "no no_new_privs"
    grep -qE '^Seccomp:\s2$' "/proc/$pid/status" || fail "no seccomp filter"
}

test_deploy_hello() {
    fnctl deploy hello || fail "fnctl deploy hello"
    get /fn/hello/ | grep -i hello || fail "hello does not say hello"
    fnctl ls
}

test_function_has_no_privilege() {
    local pid
    pid=$(function_pid hello)
    grep -E '^(Uid|Gid|CapInh|CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs|Seccomp):' "/proc/$pid/status"
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do
        grep -qE "^$set:\s0+$" "/proc/$pid/status" || fail "$set is not empty"
    done
    grep -qE '^NoNewPrivs:\s1$' "/proc/$pid/status" || fail "no no_new_privs"
    grep -qE '^Seccomp:\s2$' "/proc/$pid/status" || fail "no seccomp filter"
    [ "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" -ge $((0x70000000)) ] || fail "not an id of its own"
}

test_scale() {
    fnctl scale hello 5 || fail "fnctl scale"
    wait_until 20 ready hello 5 || fail "five instances"
    [ "$(instance_pids hello | sort -u | wc -l)" = 5 ] || fail "not five processes"
    for _ in $(seq 50); do
        [ "$(code /fn/hello/)" = 200 ] || fail "a request failed"
    done
    fnctl scale hello 2 || fail "fnctl scale back"
    wait_until 20 ready hello 2
}

# A function whose CGI programs use up what they can. The image is the busybox sample.
deploy_hog() {
    local dir=/tmp/hog
    mkdir -p $dir
    tar -xf /usr/local/share/fnd/busybox.tar.gz -C $dir
    rm -f $dir/function.ini
    mkdir -p $dir/www/cgi-bin
    cat >$dir/www/cgi-bin/memory <<'HOG'
#!/bin/sh
exec /bin/busybox awk 'BEGIN { x = "0123456789abcdef"; while (1) x = x x }'
HOG
    cat >$dir/www/cgi-bin/pids <<'HOG'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
i=0
while [ $i -lt 300 ]; do
    /bin/busybox sleep 20 </dev/null >/dev/null 2>&1 &
    i=$((i + 1))
done
echo survived
HOG
    cat >$dir/www/cgi-bin/cpu <<'HOG'
#!/bin/sh
while :; do :; done
HOG
    chmod +x $dir/www/cgi-bin/*
    echo fine >$dir/www/index.html
    cat >$dir/function.ini <<'HOG'
[function]
name = hog
command = /bin/busybox httpd -f -p 3000 -h /www
[limits]
memory = 32M
cpu = 0.5
pids = 40
timeout = 20s
[health]
path = /index.html
HOG
    fnctl deploy $dir || fail "fnctl deploy hog"
}

test_memory_limit() {
    deploy_hog
    local before codes status
    before=$(instance_pids hog)
    curl -sS -o /dev/null -w '%{http_code}' --max-time 40 http://127.0.0.1:8888/fn/hog/cgi-bin/memory >/tmp/hog.code &
    codes=$(for _ in $(seq 100); do code /fn/hello/; echo; done | sort | uniq -c)
    wait
    status=$(cat /tmp/hog.code)
    [ "$status" = 502 ] || fail "the eater's caller got $status"
    [ "$(echo "$codes" | tr -s ' ')" = " 100 200" ] || fail "its neighbour answered: $codes"
    wait_until 10 ready hog 1 || fail "no new instance"
    [ "$(instance_pids hog)" != "$before" ] || fail "the same instance"
    fnctl status hog | grep -i memory || fail "status does not say that it was the memory: $(fnctl status hog)"
}

test_pids_limit() {
    local group
    group=$(cut -d: -f3 "/proc/$(function_pid hog)/cgroup")
    code /fn/hog/cgi-bin/pids
    [ "$(cat "/sys/fs/cgroup$group/pids.max")" -le 64 ] || fail "pids.max is $(cat "/sys/fs/cgroup$group/pids.max")"
    [ "$(awk '/^max/ { print $2 }' "/sys/fs/cgroup$group/pids.events")" -gt 0 ] || fail "nothing was refused"
    [ "$(code /fn/hello/)" = 200 ] || fail "its neighbour suffers"
    fnctl restart hog
    wait_until 20 ready hog 1
}

test_cpu_limit() {
    local group
    group=$(cut -d: -f3 "/proc/$(function_pid hog)/cgroup")
    curl -sS -o /dev/null --max-time 3 http://127.0.0.1:8888/fn/hog/cgi-bin/cpu
    [ "$(awk '/^nr_throttled/ { print $2 }' "/sys/fs/cgroup$group/cpu.stat")" -gt 0 ] || fail "not throttled: $(cat "/sys/fs/cgroup$group/cpu.stat")"
    [ "$(cat "/sys/fs/cgroup$group/cpu.max")" = "50000 100000" ] || fail "cpu.max is $(cat "/sys/fs/cgroup$group/cpu.max")"
    fnctl rm hog || fail "fnctl rm"
    [ "$(code /fn/hog/)" = 404 ] || fail "still there after rm"
}

# A file system in a file, through a loop device: the module, the daemon's unit and the older kernel allow it.
test_volume() {
    local dir=/tmp/keeper
    mkdir -p $dir
    tar -xf /usr/local/share/fnd/busybox.tar.gz -C $dir
    rm -f $dir/function.ini
    mkdir -p $dir/www/cgi-bin
    cat >$dir/www/cgi-bin/write <<'KEEP'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "$QUERY_STRING" >>/data/notes
cat /data/notes
KEEP
    chmod +x $dir/www/cgi-bin/write
    printf '[function]\nname = keeper\ncommand = /bin/busybox httpd -f -p 3000 -h /www\n[health]\npath = none\n[volumes]\ndata = /data 32M\n' >$dir/function.ini
    fnctl deploy $dir || fail "fnctl deploy keeper"
    [ "$(get '/fn/keeper/cgi-bin/write?one')" = one ] || fail "cannot write: $(get '/fn/keeper/cgi-bin/write?one')"
    fnctl rm keeper
    fnctl deploy $dir || fail "fnctl deploy keeper again"
    [ "$(get '/fn/keeper/cgi-bin/write?two' | tr '\n' ' ')" = "one two " ] || fail "what was written is lost"
    fnctl rm --volumes keeper || fail "fnctl rm --volumes"
    wait_until 10 sh -c '! cat /sys/block/loop*/loop/backing_file | grep fnd' || fail "loop devices are left"
}

same_pids() {
    [ "$(instance_pids hello | sort)" = "$1" ]
}

other_pids() {
    [ "$(instance_pids hello | wc -l)" = "$2" ] && ! instance_pids hello | grep -qx "$1"
}

test_killed_instance_is_replaced() {
    local victim
    victim=$(instance_pids hello | head -n 1)
    kill -9 "$victim"
    wait_until 10 other_pids "$victim" 2 || fail "not replaced"
    [ "$(code /fn/hello/)" = 200 ] || fail "no answer"
}

test_killed_gateway_comes_back() {
    local pids gateway runner
    pids=$(instance_pids hello | sort)
    gateway=$(main_pid fnd-gateway)
    runner=$(main_pid fnd)
    kill -9 "$gateway"
    wait_until 15 get /fn/hello/ || fail "no answer after the gateway was killed"
    [ "$(main_pid fnd-gateway)" != "$gateway" ] || fail "the same gateway"
    [ "$(main_pid fnd)" = "$runner" ] || fail "the runner went along"
    wait_until 10 same_pids "$pids" || fail "instances changed: $pids and now $(instance_pids hello)"
}

# The gateway goes on serving the old ones until the new runner has ended them.
instance_gone() {
    ! grep -q fn-init "/proc/$1/comm" 2>/dev/null
}

test_killed_runner_comes_back() {
    local runner pids
    runner=$(main_pid fnd)
    pids=$(instance_pids hello)
    kill -9 "$runner"
    wait_until 20 get /fn/hello/ || fail "no answer after the runner was killed"
    [ "$(main_pid fnd)" != "$runner" ] || fail "the same runner"
    wait_until 20 ready hello 2 || fail "the scale was lost"
    for pid in $pids; do
        wait_until 20 instance_gone "$pid" || fail "instance $pid of the dead daemon is still there"
    done
    return 0
}

test_restart_keeps_functions() {
    systemctl restart fnd || fail "systemctl restart fnd"
    # The gateway shows what the old daemon said last until the new one has told it everything.
    wait_until 20 get /fn/hello/ || fail "no answer"
    wait_until 20 ready hello 2 || fail "functions or scale were lost"
}

# Links that are not the service's, which makes slots when it likes.
other_links() {
    ip -o link | grep -cvE ': (fn|vf)[0-9]+[@:]'
}

test_run_once_beside_the_daemon() {
    local before after
    before=$(other_links)
    fnctl run hello --once >/tmp/once 2>/tmp/once.err || { cat /tmp/once.err; fail "fnctl run hello --once"; }
    grep -i hello /tmp/once || fail "said: $(cat /tmp/once)"
    after=$(other_links)
    [ "$before" = "$after" ] || fail "$before other links before, $after after: $(ip -o link)"
    [ "$(code /fn/hello/)" = 200 ] || fail "the service was disturbed"
}

test_self_test_beside_the_daemon() {
    fnctl doctor --self-test >/tmp/selftest || { grep -v '^ok' /tmp/selftest; fail "fnctl doctor --self-test"; }
    [ "$(grep -c '^ok' /tmp/selftest)" -gt 60 ] || fail "said: $(cat /tmp/selftest)"
    [ "$(code /fn/hello/)" = 200 ] || fail "the service was disturbed"
}

tls_sends_in_kernel() {
    [ "$(awk '$1 == "TlsTxSw" { print $2 }' /proc/net/tls_stat)" -gt "$1" ]
}

# The listener for TLS that the administrator enables, from systemd; where the kernel has the module, it encrypts what is sent.
test_https_from_socket_unit() {
    local before
    fnctl cert self-signed localhost || fail "fnctl cert self-signed"
    systemctl enable --quiet fnd-tls.socket || fail "systemctl enable fnd-tls.socket"
    systemctl restart fnd-gateway || fail "fnd-tls.socket: $(systemctl status --no-pager fnd-tls.socket)"
    [ "$(systemctl is-active fnd-tls.socket)" = active ] || fail "fnd-tls.socket is $(systemctl is-active fnd-tls.socket)"
    wait_until 20 get /fn/hello/ || fail "no answer over http"
    before=$(awk '$1 == "TlsTxSw" { print $2 }' /proc/net/tls_stat)
    [ -n "$before" ] || fail "the module tls is not loaded"
    for version in --http1.1 --http2; do
        curl -sS --fail --max-time 20 $version --cacert /etc/fnd/tls/localhost.pem https://localhost:8443/fn/hello/ | grep -i hello || fail "no answer over https, $version"
    done
    tls_sends_in_kernel "$before" || fail "not the kernel's TLS: $(cat /proc/net/tls_stat)"
    kill -9 "$(main_pid fnd-gateway)"
    wait_until 20 curl -sS --fail --max-time 20 --cacert /etc/fnd/tls/localhost.pem https://localhost:8443/fn/hello/ || fail "no answer over https after the gateway was killed"
}

# put_runtime NAME: from the second disk.
put_runtime() {
    tar -xf /dev/vdb -C /var/tmp "runtime-$1.tar" || fail "no runtime-$1.tar on the second disk"
    fnctl runtime put "$1" "/var/tmp/runtime-$1.tar" || fail "fnctl runtime put $1"
    rm "/var/tmp/runtime-$1.tar"
}

# serves NAME PATH TEXT [CURL-ARGUMENT...]: NAME is deployed, answers with the text, and goes.
serves() {
    local name=$1 path=$2 text=$3
    shift 3
    curl -sS --fail --max-time 60 "$@" "http://127.0.0.1:8888/fn/$name$path" | grep -F -- "$text" || fail "$name: no answer with $text"
    fnctl rm "$name" || fail "fnctl rm $name"
}

# One of each kind of function (hello, above, is a server of its own).
test_kind_shell() {
    put_runtime shell
    fnctl deploy sample:hello-shell || fail "fnctl deploy sample:hello-shell"
    serves hello-shell '/?name=you' you
}

test_kind_stdio() {
    fnctl deploy sample:wordcount || fail "fnctl deploy sample:wordcount"
    serves wordcount / 3 -d 'one two three'
}

test_kind_static() {
    put_runtime static
    fnctl deploy sample:website || fail "fnctl deploy sample:website"
    serves website / '<'
}

test_kind_python() {
    put_runtime python
    fnctl deploy sample:hello-python || fail "fnctl deploy sample:hello-python"
    serves hello-python '/?name=you' you
}

test_kind_ruby() {
    put_runtime ruby
    cd /var/tmp || fail "cd /var/tmp"
    fnctl new gem --runtime ruby || fail "fnctl new gem"
    fnctl deploy ./gem || fail "fnctl deploy ./gem"
    serves gem '/?name=you' you
}

test_kind_node() {
    put_runtime node
    fnctl deploy sample:hello-node || fail "fnctl deploy sample:hello-node"
    serves hello-node '/?name=you' you
}

# What `docker save` writes: layers, a configuration and a manifest.
test_kind_container_image() {
    mkdir -p /var/tmp/image/root
    tar -xf "$here/build/release/hello.tar.gz" -C /var/tmp/image/root || fail "hello.tar.gz"
    python3 - /var/tmp/image <<'END' || fail "no archive"
import hashlib, json, os, sys, tarfile
top = sys.argv[1]
with tarfile.open(top + "/layer.tar", "w") as layer:
    layer.add(top + "/root/hello", "usr/bin/hello")
digest = hashlib.sha256(open(top + "/layer.tar", "rb").read()).hexdigest()
with open(top + "/config.json", "w") as f:
    json.dump({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/usr/bin/hello"]}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}, f)
with open(top + "/manifest.json", "w") as f:
    json.dump([{"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["layer.tar"]}], f)
with tarfile.open(top + ".tar", "w") as out:
    for name in ("layer.tar", "config.json", "manifest.json"):
        out.add(os.path.join(top, name), name)
END
    fnctl deploy /var/tmp/image.tar --name web || fail "fnctl deploy image.tar"
    serves web /echo 'some text' -d 'some text'
}

test_logs() {
    fnctl logs hello >/tmp/logs || fail "fnctl logs"
    journalctl -u fnd -o cat --no-pager | grep -qE ' ?(traceback|assert|Assertion)' && fail "an assertion in the journal: $(journalctl -u fnd -o cat --no-pager | grep -i assert)"
    return 0
}

test_stop_leaves_nothing() {
    systemctl stop fnd.socket fnd-tls.socket fnd-gateway fnd || fail "systemctl stop"
    [ "$(systemctl is-active fnd)" = inactive ] || fail "fnd is $(systemctl is-active fnd)"
    wait_until 10 inactive fnd-instances || fail "the holder still runs"
    ip -o link | grep -E ' (fn|vf)[0-9]+' && fail "links are left"
    [ -z "$(nft list tables)" ] || fail "tables are left: $(nft list tables)"
    find /sys/fs/cgroup -path '*fnd*' -type d | grep -v fnd-vm-test && fail "cgroups are left"
    grep -E ' /(run|var/lib)/fnd' /proc/self/mountinfo && fail "mounts are left"
    pgrep -a -x 'fnd|fnd-gateway|fnd-unpack|fn-init|hello' && fail "processes are left"
    return 0
}

test_start_again() {
    systemctl start fnd || fail "systemctl start fnd"
    wait_until 20 get /fn/hello/ || fail "hello is gone"
    systemctl stop fnd.socket fnd-gateway fnd
}

# The programs of tests/root, each as a test.
run_root() {
    chmod +x "$here/tests/testhost"
    cd "$here" && tests/testhost "build/release/tests/$1"
}

if [ $# = 2 ] && [ "$1" = --one ]; then
    case $2 in
    root/*) run_root "${2#root/}" ;;
    *) "$2" ;;
    esac
    exit
fi

mapfile -t tests < <(grep -oE '^test_[a-z0-9_]+' "$0")
for program in "$here"/build/release/tests/test_*; do
    [ -x "$program" ] && tests+=("root/$(basename "$program")")
done

# The hostile suite as a whole, on a machine that was booted for it: one line for each test as it ends, the tables behind them. Counts are smaller than natively: this processor is emulated.
hostile_suite() {
    chmod +x "$here/tests/testhost"
    cd "$here" || exit 1
    FND_HOSTILE_SCALE=0.03 FND_PATIENCE=150 tests/testhost /usr/bin/python3 -B -m pytest -v -p no:cacheprovider --tb=short --durations=10 tests/hostile --ignore=tests/hostile/test_table.py 2>&1
    echo "status $?"
}

if grep -qw fnd.suite=hostile /proc/cmdline; then
    hostile_suite | python3 -u -c '
import re, sys
n = failed = 0
for line in sys.stdin:
    line = line.rstrip()
    plan = re.match(r"collect.*collected (\d+) items", line)
    result = re.match(r"tests/hostile/\S+::(\S+) (PASSED|FAILED|ERROR)", line)
    if plan:
        print("1.." + plan[1])
    elif result:
        n += 1
        failed += result[2] != "PASSED"
        print("ok" if result[2] == "PASSED" else "not ok", n, "-", result[1])
    elif line.startswith("status ") and line != "status %d" % (failed > 0):
        print("not ok", n + 1, "- end of the test host,", line)
    elif line:
        print("# " + line[:300])
print("end")
'
    exit
fi

# fnd.only=A,B on the kernel's command line: those alone (run.py --only).
only=$(sed -nE 's/.*fnd\.only=(\S+).*/,\1,/p' /proc/cmdline)
if [ -n "$only" ]; then
    chosen=()
    for t in "${tests[@]}"; do
        case $only in *",$t,"*) chosen+=("$t") ;; esac
    done
    tests=("${chosen[@]}")
fi

# Without these the tests that follow them can only wait for their time limits.
needed=" test_start test_deploy_hello "
missing=

echo "1..${#tests[@]}"
n=0
for t in "${tests[@]}"; do
    n=$((n + 1))
    if [ -n "$missing" ] && [ "${t#root/}" = "$t" ]; then
        echo "not ok $n - $t"
        echo "# not tried, because of $missing"
        continue
    fi
    SECONDS=0
    if timeout --kill-after=5 $limit bash "$0" --one "$t" >/tmp/output 2>&1; then
        echo "ok $n - $t # $SECONDS s"
    else
        status=$?
        echo "not ok $n - $t # $SECONDS s"
        echo "# status $status"
        case $needed in *" $t "*) missing=$t ;; esac
        grep -vE '^\[ (RUN     |      OK) \]' /tmp/output | tail -n 40 | sed 's/^/# /'
        if [ "${t#root/}" = "$t" ]; then
            journalctl -o cat -n 60 --no-pager -u fnd -u fnd-gateway -u fnd-instances 2>/dev/null | uniq -c | tail -n 25 | sed 's/^/# journal: /'
        fi
    fi
done
echo end
