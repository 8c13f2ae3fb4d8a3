#!/usr/bin/env bash
# report_html.sh REPORT_PAGES: the pages that the program writes are valid HTML. Exit status 77 (skipped) where a checker is
# missing; with TENON_REQUIRE_PYTHON=1 that is a failure.
set -euo pipefail
report_pages=$1
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=python.sh
source "$folder/python.sh"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
"$report_pages" "$runs"
"$python" "$folder/report_html.py" "$runs"
