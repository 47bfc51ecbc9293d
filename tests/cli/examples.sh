#!/bin/bash
# Every example of every operation record does what its page says, in a state of its own.
#
#   STRATA=/path/to/strata tests/cli/examples.sh [OPERATION]
#
# timeout: 900
set -u
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
STRATA=${STRATA:-}
ONLY=${1:-}
export TOP STRATA

# The lines of one example, "MARK TEXT" each, are run in a shell of its own.
if [ -n "${EXAMPLE:-}" ]; then
    . "$TOP/tests/scenario/lib.sh"
    set +e
    need_registry() {
        need_cmd docker-registry curl
        REGISTRY=127.0.0.1:$((20000 + $$ % 20000))
        printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' \
            "$WORK/registry" "$REGISTRY" >"$WORK/registry.yml"
        docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
        REGISTRY_PID=$!
        within 10 curl -so "$WORK/answer" "http://$REGISTRY/v2/"
        strata image push --quiet --plain-http busybox "$REGISTRY/busybox" || fail "first push"
    }
    on_exit() {
        if [ -n "${REGISTRY_PID:-}" ]; then kill "$REGISTRY_PID"; fi
    }
    # What was printed and the code against the lines that follow the command.
    verify() {
        [ -n "$ran" ] || return 0
        case " $want_code " in *" $code "*) ;; *) false ;; esac || fail "'$ran' ended with $code, not $want_code: $out"
        [ "$mark" = '$' ] || return 0
        # shellcheck disable=SC2053 # a pattern is meant
        [[ $out == $pattern ]] || fail "'$ran' printed '$out'"
    }
    cd "$WORK" || exit 1
    if grep -q busybox "$EXAMPLE"; then
        need_busybox || fail "the image busybox cannot be built"
    fi
    ran='' out='' pattern='' code=0 want_code=0 mark=''
    while IFS= read -r line <&3; do
        text=${line:2}
        case ${line:0:1} in
        +) for need in $text; do "need_$need"; done ;;
        '?') want_code=$text ;;
        '>')
            text=$(printf '%s' "$text" | sed 's/[][*?\\]/\\&/g; s/\.\.\./*/g')
            pattern=${pattern:+$pattern$'\n'}$text
            ;;
        '$' | %)
            verify
            ran=$text pattern='' want_code=0 mark=${line:0:1}
            out=$(eval "$text" 3<&- </dev/null)
            code=$?
            ;;
        esac
    done 3<"$EXAMPLE"
    verify
    exit 0
fi

[ -x "$STRATA" ] || { echo "skip: strata is not built (STRATA)"; exit 77; }
DIR=$(mktemp -d /tmp/strata-examples-XXXXXX)
trap 'rm -rf "$DIR"' EXIT
python3 "$TOP/tools/opgen.py" examples "$DIR/all" "$TOP"/src/wire/ops/*.op \
    "$TOP"/src/wire/ops/*.part || exit 1
awk -v dir="$DIR" '/^= /{ n++; file = sprintf("%s/%03d", dir, n); print substr($0, 3) > (file ".name"); next }
    n { print > file }' "$DIR/all"

passed=0 failed=0 skipped=0
for name in "$DIR"/*.name; do
    title=$(cat "$name")
    case $title in "$ONLY"*) ;; *) continue ;; esac
    said=$(EXAMPLE=${name%.name} timeout 60 bash "$0" 2>&1)
    case $? in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) && echo "skipped: $title: ${said##*skip: }" ;;
    *) failed=$((failed + 1)) && echo "failed: $title: $said" ;;
    esac
done
echo "$passed examples passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] || exit 1
[ "$passed" -gt 0 ] || exit 77
