#!/usr/bin/env bash
# Finds a Chromium for the browser tests and prints its path; as root on Debian, installs one if there is none.
set -euo pipefail

find_it() {
    if [ -n "${GANTROL_CHROMIUM:-}" ]; then command -v "$GANTROL_CHROMIUM"; return; fi
    for name in chromium chromium-browser google-chrome chrome; do
        if command -v "$name"; then return; fi
    done
    return 1
}

if find_it; then exit 0; fi
why="install chromium, or name one with GANTROL_CHROMIUM"
if [ -z "${GANTROL_CHROMIUM:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    quick=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
    timeout 60 apt-get "${quick[@]}" update >/dev/null 2>&1 || true
    if DEBIAN_FRONTEND=noninteractive timeout 600 apt-get "${quick[@]}" install -y --no-install-recommends chromium \
        >/dev/null 2>&1 && find_it; then exit 0; fi
    why="apt-get could not install it"
fi
echo "no Chromium for the browser tests: $why" >&2
exit 1
