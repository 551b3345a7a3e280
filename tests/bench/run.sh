#!/usr/bin/env bash
# Measures the real binary against nginx on loopback, beside bare reqwest, wrk, curl -Z and xargs with curl, in one run:
# CPU time (user and system) for each ID first, which is steady where wall time is not.
# Usage: tests/bench/run.sh [IDS] [ROUNDS]     (200000 IDs and 3 rounds by default)
# BIN measures another binary than the one built here, BEFORE a second one beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

ids=${1:-200000}
rounds=${2:-3}
missing=()
for tool in nginx wrk curl xargs taskset python3 openssl; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if ((${#missing[@]})); then
    echo "missing: ${missing[*]}; on Debian: apt-get install nginx libnginx-mod-http-lua wrk curl findutils util-linux python3 openssl" >&2
    exit 2
fi

release=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
cargo build --release --locked --quiet --example bare_reqwest
bare=$release/examples/bare_reqwest
binary=${BIN:-}
if [ -z "$binary" ]; then
    cargo build --release --locked --quiet
    binary=$release/imagekit-bulk-delete
fi
scratch=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
tls_port=$((port + 1))
cleanup() { [ -f "$scratch/nginx.pid" ] && kill "$(cat "$scratch/nginx.pid")" 2>/dev/null || true; rm -rf "$scratch"; }
trap cleanup EXIT

modules=""
lua=/usr/lib/nginx/modules/ngx_http_lua_module.so
if [ -f "$lua" ]; then modules="load_module ${lua%/*}/ndk_http_module.so; load_module $lua;"; fi
mkdir "$scratch/logs"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
{
    openssl req -x509 "${new_key[@]}" -keyout "$scratch/ca.key" -out "$scratch/ca.pem" -subj "/CN=bench" -days 2
    openssl req "${new_key[@]}" -keyout "$scratch/key.pem" -out "$scratch/request.pem" -subj "/CN=127.0.0.1"
    openssl x509 -req -in "$scratch/request.pem" -CA "$scratch/ca.pem" -CAkey "$scratch/ca.key" -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$scratch/cert.pem"
} 2>"$scratch/openssl.txt" || { cat "$scratch/openssl.txt" >&2; exit 1; }

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
        listen 127.0.0.1:$tls_port ssl;
        ssl_certificate $scratch/cert.pem;
        ssl_certificate_key $scratch/key.pem;
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
python3 tests/bench/measure.py "$binary" "$bare" "$scratch" "http://127.0.0.1:$port" "https://127.0.0.1:$tls_port" \
    "$ids" "$rounds" "${modules:+batch}" "${BEFORE:-}"
