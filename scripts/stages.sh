# shellcheck shell=bash
# Sourced by the two commands of the README: stages that say what they do and how long they took.

stage_names=()
stage_seconds=()

# stage NAME COMMAND...: runs the command under a heading. Its failure ends the script with its status.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || status=$?
  stage_names+=("$name")
  stage_seconds+=($((SECONDS - start)))
  if ((status != 0)); then
    printf '\n%s: failed with status %d after %d s\n' "$name" "$status" "$((SECONDS - start))" >&2
    exit "$status"
  fi
}

# elapsed: one line with the time of every stage so far.
elapsed() {
  local i line=""
  for i in "${!stage_names[@]}"; do line+=", ${stage_names[i]} ${stage_seconds[i]} s"; done
  printf '\nElapsed: %s (total %d s)\n' "${line#, }" "$SECONDS"
}

# cores: how many this process may use (a container may have fewer than the machine).
cores() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }

export NINJA_STATUS="${NINJA_STATUS:-[%f/%t, %es] }"
