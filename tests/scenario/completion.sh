#!/bin/sh
# Completion scripts: each shell reads its own, quotes and brackets close, nothing is missing.
. "$(dirname "$0")/lib.sh"
need_cmd python3 bash
for shell in bash zsh fish; do
    strata completion $shell >"$WORK/$shell"
    if command -v $shell >/dev/null; then
        $shell -n "$WORK/$shell" 2>"$WORK/err" || fail "$shell cannot read it: $(cat "$WORK/err")"
    else
        echo "not checked by $shell itself: it is not installed"
    fi
done
"$STRATA" --help >"$WORK/help"

# Where a shell is missing, its rules of quoting are applied: in zsh and fish, words in single
# quotes end at the next one (fish: unless \' or \\), in double quotes at an unescaped one.
python3 - "$WORK" "$STRATA" <<'PY'
import re, subprocess, sys
work, strata = sys.argv[1:]

def scan(text, shell):
    """The text without what is quoted; complains about what does not close."""
    out, i, line = [], 0, 1
    while i < len(text):
        c = text[i]
        line += c == "\n"
        if c == "\\":
            i += 2
            continue
        if c == "#" and (i == 0 or text[i - 1] in " \n\t"):
            while i < len(text) and text[i] != "\n":
                i += 1
            continue
        if c in "'\"":
            begin, i = line, i + 1
            while i < len(text) and text[i] != c:
                escapes = c == '"' or shell == "fish"
                line += text[i] == "\n"
                i += 2 if escapes and text[i] == "\\" else 1
            assert i < len(text), f"{shell}: the {c} of line {begin} does not close"
            assert line == begin or shell == "bash", f"{shell}: {c} of line {begin} goes over lines"
        out.append(" " if c in "'\"" else c)
        i += 1
    return "".join(out)

for shell in ("bash", "zsh", "fish"):
    text = open(f"{work}/{shell}").read()
    assert text.count("\n") > 10, shell
    bare = scan(text, shell)
    if shell != "bash":  # its `case` has lone brackets
        for a, b in ("()", "[]", "{}"):
            if shell == "zsh" and a == "(":  # and so has that of zsh
                bare = re.sub(r"^\s*\(?[^\s()]+\)\s", " ", bare, flags=re.M)
                bare = re.sub(r"^\s*\(?[^()\n]+\)$", " ", bare, flags=re.M)
            assert bare.count(a) == bare.count(b), f"{shell}: {a} {bare.count(a)}, {b} {bare.count(b)}"

# Every command of the help, and every long option of its help, is in each script.
def out(*words):
    return subprocess.run([strata, *words], capture_output=True, text=True).stdout

missing = []
commands = re.findall(r"^  ([a-z]+)(?: ([a-z]+))?  +[a-z]", open(f"{work}/help").read(), re.M)
assert len(commands) > 30, commands
scripts = {s: open(f"{work}/{s}").read() for s in ("bash", "zsh", "fish")}
for first, second in commands:
    if first == "oci":  # its words are an engine's, not typed
        continue
    options = re.findall(r"--([a-z-]+)", "\n".join(
        l for l in out(first, *([second] if second else []), "--help").splitlines()
        if re.match(r"  +(-\w, )?--", l)))
    for s, text in scripts.items():
        words = [first] + ([second] if second else [])
        missing += [(s, w) for w in words if w not in text]
        missing += [(s, first, second, o) for o in set(options)
                    if o not in text]
assert not missing, missing[:10]
PY
