"""Completion scripts for bash, zsh and fish."""

FILES = {"bash": "strata", "zsh": "_strata", "fish": "strata.fish"}
MARK = "# Made by tools/opgen.py from src/wire/ops; never edited by hand."

# Types whose values the program itself can list.
ASK = {"guest": "list", "image": "image list", "network": "network list"}


def commands(ops):
    """First word -> its second words (empty for a command of one word)."""
    out = {}
    for rec in ops:
        first, _, second = rec.name.partition(" ")
        out.setdefault(first, [])
        if second:
            out[first].append(second)
    return out


def names(items):
    return ["--" + i.long for i in items] + ["-" + i.letter for i in items if i.letter]


def globals_of(parts):
    return [i for _, i, _ in parts["global"].items()]


def values(item):
    """How a value is completed: words, 'ask COMMAND', 'files', or nothing known."""
    if item.words:
        return "words " + " ".join(item.words)
    if item.type in ASK:
        return "ask " + ASK[item.type]
    return "files" if item.type in ("path", "volume") else "nothing"


def bash_table(ops, parts):
    """Lines of case branches: the options, values of options, and arguments of each command."""
    for rec in ops:
        options = " ".join(names(rec.options) + names(globals_of(parts)))
        args = rec.positionals
        yield '    "%s") opts="%s" args="%s" ;;' % (
            rec.name, options, values(args[0]) if args else "nothing")


def bash_values(ops, parts):
    seen = {}
    for rec in ops:
        for item in rec.options + globals_of(parts):
            if item.value:
                seen.setdefault(values(item), set()).update(
                    "%s:%s" % (rec.name, n) for n in names([item]))
    for how, keys in sorted(seen.items()):
        if how != "nothing":
            yield '    "%s") echo "%s" ;;' % ('"|"'.join(sorted(keys)), how)
    every = sorted(k for keys in seen.values() for k in keys)
    yield '    "%s") echo nothing ;;' % '"|"'.join(every)


BASH = """%(mark)s
_strata_value()
{
    case "$1" in
%(values)s
    esac
}

_strata_reply()
{
    case "$1" in
    words*) COMPREPLY=($(compgen -W "${1#words }" -- "$2")) ;;
    ask*) COMPREPLY=($(compgen -W "$(strata ${1#ask } --quiet 2>/dev/null)" -- "$2")) ;;
    files) COMPREPLY=($(compgen -f -- "$2")) ;;
    esac
}

_strata()
{
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" op="" words=() i
    local opts="" args="nothing"
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
        --state) ((i++)) ;;
        -*) ;;
        *) words+=("${COMP_WORDS[i]}") ;;
        esac
    done
    case "${words[0]}" in
    %(nouns)s) op="${words[0]} ${words[1]}" ;;
    *) op="${words[0]}" ;;
    esac
    case "$op" in
    "") opts="%(globals)s" args="words %(first)s" ;;
%(seconds)s
%(table)s
    esac
    local value="$(_strata_value "$op:$prev")"
    if [ -n "$value" ]; then
        _strata_reply "$value" "$cur"
    elif [ "${cur:0:1}" = - ]; then
        COMPREPLY=($(compgen -W "$opts" -- "$cur"))
    else
        _strata_reply "$args" "$cur"
    fi
}
complete -o bashdefault -o default -F _strata strata
"""


def bash(ops, parts):
    known = commands(ops)
    nouns = [n for n, verbs in known.items() if verbs]
    seconds = "\n".join('    "%s ") args="words %s" ;;' % (n, " ".join(known[n])) for n in nouns)
    return BASH % {
        "mark": MARK, "nouns": "|".join(nouns), "seconds": seconds, "first": " ".join(known),
        "globals": " ".join(names(globals_of(parts))),
        "values": "\n".join(bash_values(ops, parts)), "table": "\n".join(bash_table(ops, parts))}


def zsh_text(text):
    for char in "\\[]:":
        text = text.replace(char, "\\" + char)
    return text.replace("'", "'\\''")


def zsh_action(item):
    how = values(item)
    if how.startswith("words "):
        return "(%s)" % how[6:]
    if how.startswith("ask "):
        return "{compadd -- ${(f)\"$(strata %s --quiet 2>/dev/null)\"}}" % how[4:]
    return "_files" if how == "files" else ""


def zsh_specs(rec, parts):
    for item in rec.options + globals_of(parts):
        for name in names([item]):
            spec = "%s%s[%s]" % ("*" if item.many else "", name, zsh_text(item.help))
            if item.value:
                spec += ":%s:%s" % (zsh_text(item.value), zsh_action(item))
            yield "'%s'" % spec
    for item in rec.positionals:
        mark = "*" if item.many else ""
        yield "'%s:%s:%s'" % (mark, zsh_text(item.value), zsh_action(item))


def zsh(ops, parts):
    known = commands(ops)
    out = ["#compdef strata", MARK, "_strata() {", "  local cmd=\"$words[2]\"", "  case \"$cmd\" in"]
    nouns = [n for n, verbs in known.items() if verbs]
    out.append("  %s) cmd=\"$words[2] $words[3]\" ;;" % "|".join(nouns))
    out += ["  esac", "  if (( CURRENT == 2 )); then",
            "    compadd -- %s" % " ".join(known), "    return", "  fi",
            "  if (( CURRENT == 3 )); then", "    case \"$words[2]\" in"]
    out += ["    %s) compadd -- %s; return ;;" % (n, " ".join(known[n])) for n in nouns]
    out += ["    esac", "  fi", "  case \"$cmd\" in"]
    for rec in ops:
        skip = rec.name.count(" ") + 1
        out.append("  '%s')" % rec.name)
        out.append("    shift %d words; (( CURRENT -= %d ))" % (skip, skip))
        out.append("    _arguments -s \\\n      %s ;;" % " \\\n      ".join(zsh_specs(rec, parts)))
    return "\n".join(out + ["  esac", "}", "_strata \"$@\""]) + "\n"


def fish_text(text):
    return "'%s'" % text.replace("\\", "\\\\").replace("'", "\\'")


def fish_values(item):
    how = values(item)
    if how.startswith("words "):
        return " -x -a %s" % fish_text(how[6:])
    if how.startswith("ask "):
        return " -x -a '(strata %s --quiet 2>/dev/null)'" % how[4:]
    return " -r" if how == "files" else " -x"


def fish_option(item, when):
    line = "complete -c strata%s -l %s" % (when, item.long)
    line += " -s " + item.letter if item.letter else ""
    return line + (fish_values(item) if item.value else "") + " -d " + fish_text(item.help)


def fish(ops, parts):
    known = commands(ops)
    out = [MARK, "complete -c strata -f"]
    out += [fish_option(i, "") for i in globals_of(parts)]
    for first, seconds in known.items():
        help_ = next(r.help for r in ops if r.name.split()[0] == first) if not seconds else ""
        out.append("complete -c strata -n __fish_use_subcommand -a %s -d %s"
                   % (first, fish_text(help_ or "commands for " + first)))
    for rec in ops:
        first, _, second = rec.name.partition(" ")
        seen = "__fish_seen_subcommand_from "
        when = " -n '%s%s%s'" % (seen, first, "; and " + seen + second if second else "")
        if second:
            out.append("complete -c strata -n '%s%s; and not %s%s' -a %s -d %s" % (
                seen, first, seen, " ".join(known[first]), second, fish_text(rec.help)))
        out += [fish_option(i, when) for i in rec.options]
        if rec.positionals:
            out.append("complete -c strata%s%s" % (when, fish_values(rec.positionals[0])))
    return "\n".join(out) + "\n"


def scripts(ops, parts):
    return {"bash": bash(ops, parts), "zsh": zsh(ops, parts), "fish": fish(ops, parts)}
