#!/usr/bin/env bash
# Times the real binary against nginx on loopback, beside wrk and beside xargs with curl, in one run.
# Usage: tests/bench/run.sh [IDS] [ROUNDS]     (200000 IDs and 3 rounds by default)
# Everything runs on loopback; the client has one core and nginx the other.
set -euo pipefail
cd "$(dirname "$0")/../.."

ids=${1:-200000}
rounds=${2:-3}
missing=()
for tool in nginx wrk curl xargs taskset python3; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if ((${#missing[@]})); then
    echo "missing: ${missing[*]}; on Debian: apt-get install nginx libnginx-mod-http-lua wrk curl findutils util-linux python3" >&2
    exit 2
fi

binary=${BIN:-}
if [ -z "$binary" ]; then
    cargo build --release --quiet
    binary=$PWD/target/release/imagekit-bulk-delete
fi
scratch=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
cleanup() { [ -f "$scratch/nginx.pid" ] && kill "$(cat "$scratch/nginx.pid")" 2>/dev/null || true; rm -rf "$scratch"; }
trap cleanup EXIT

modules=""
lua=/usr/lib/nginx/modules/ngx_http_lua_module.so
if [ -f "$lua" ]; then modules="load_module ${lua%/*}/ndk_http_module.so; load_module $lua;"; fi
mkdir "$scratch/logs"
cat >"$scratch/nginx.conf" <<CONF
$modules
worker_processes 1;
worker_cpu_affinity 10;
pid $scratch/nginx.pid;
error_log $scratch/error.log;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $scratch/body;
    client_body_buffer_size 64k;
    server {
        listen 127.0.0.1:$port;
        location = /v1/files/batch/deleteByFileIds {
            $( [ -n "$modules" ] && cat <<'LUA'
            default_type application/json;
            content_by_lua_block {
                ngx.req.read_body()
                local body = ngx.req.get_body_data()
                ngx.header["x-ik-requestId"] = "bench"
                ngx.print((body:gsub('"fileIds"', '"successfullyDeletedFileIds"', 1)))
            }
LUA
)
        }
        location /v1/files/ { add_header x-ik-requestId bench always; return 204; }
    }
}
CONF
nginx -p "$scratch" -c "$scratch/nginx.conf" 2>"$scratch/nginx.txt" || { cat "$scratch/nginx.txt" >&2; exit 1; }

python3 - "$ids" >"$scratch/ids.csv" <<'PY'
import sys
print("type,name,fileId,url,size")
for n in range(int(sys.argv[1])):
    print(f"file,photo-{n}.jpg,{n * 0x9e3779b97f4a7c15 % 2**64:016x}{n % 2**32:08x},https://ik.imagekit.io/x/{n}.jpg,{n}")
PY
echo 'wrk.method = "DELETE"' >"$scratch/delete.lua"
python3 tests/bench/measure.py "$binary" "http://127.0.0.1:$port" "$scratch" "$ids" "$rounds" "${modules:+batch}"
