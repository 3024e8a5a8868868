"""Asks pip-audit for known vulnerabilities of what is installed: `make audit`, and part of `make check`.

Ends with 1 where there are any. A package index that has no list of vulnerabilities, or no network, is said and no
failure: then nothing is known, neither good nor bad.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """Prints what is known, a line each."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--local",
        "--skip-editable",
        "--progress-spinner",
        "off",
        "-f",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"audit: not done, as the service cannot be asked ({reason[:200]})")
        return 0
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    known = [(entry, vulnerability) for entry in found for vulnerability in entry.get("vulns", ())]
    for entry, vulnerability in known:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"audit: {entry['name']} {entry['version']}: {vulnerability['id']}, mended in {fixed}")
    looked_up = len(found) - len(skipped)
    print(f"audit: {looked_up} packages looked up, {len(skipped)} unknown to the index, {len(known)} vulnerabilities")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
